"""Alignment of halves: known correlations, and a twin by kernels between examples."""

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.measurements.halves_alignment import HalvesAlignment, alignment
from critbatch.models.hidden import reference_examples
from tests.problems import blob_task

from .test_hidden_units import snapshot_of


@pytest.mark.parametrize("correlation", [0.0, -0.6, 1.0])
def test_two_units_are_aligned_by_their_squared_correlation(correlation):
    covariance = torch.tensor([[4.0, 2 * correlation], [2 * correlation, 1.0]], dtype=torch.float64)
    found = alignment(covariance, torch.tensor([0]), torch.tensor([1]))
    assert found == pytest.approx(correlation**2, abs=1e-12)


def test_rotation_and_scale_of_a_half_do_not_matter():
    draw = torch.Generator().manual_seed(0)
    outputs = torch.randn(50, 3, generator=draw, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=draw, dtype=torch.float64)).Q
    both = torch.cat([outputs, 7 * outputs @ rotation], dim=1)
    centred = both - both.mean(0)
    found = alignment(centred.T @ centred, torch.arange(3), torch.arange(3, 6))
    assert found == pytest.approx(1, rel=1e-12)


def naive(first: np.ndarray, second: np.ndarray) -> float:
    """Return HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with kernels between examples, centred by a matrix."""
    count = len(first)
    centring = np.eye(count) - 1 / count
    kernels = [centring @ part @ part.T @ centring for part in (first, second)]
    across, one, other = (np.trace(a @ b) for a, b in ((kernels[0], kernels[1]), (kernels[0],) * 2, (kernels[1],) * 2))
    return float(across / np.sqrt(one * other))


@pytest.mark.parametrize("width", [6, 7])
def test_it_is_the_kernel_formula(width):
    task = blob_task(lambda: nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3)))
    model = task.initialise(1).double()
    snapshot = snapshot_of(task, model=model, generator=torch.Generator().manual_seed(9))
    found = HalvesAlignment(examples=60, splits=3).measure(snapshot)["halves_alignment"]
    reference = reference_examples(task, 60, model[0].weight)
    outputs = model[:2](reference.inputs).detach().numpy()
    draw = torch.Generator().manual_seed(9)
    orders = [torch.randperm(width, generator=draw).numpy() for _ in range(3)]
    expected = [naive(outputs[:, order[:3]], outputs[:, order[3:6]]) for order in orders]
    assert found == pytest.approx(np.mean(expected), rel=1e-10)


@pytest.mark.parametrize(("alive", "expected"), [(8, 1.0), (0, np.nan)])
def test_copies_say_the_same_and_the_dead_say_nothing(alive, expected):
    task = blob_task(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))
    model = task.initialise(0)
    with torch.no_grad():
        model[0].weight[:] = torch.tensor([1.0, 0, 0, 0])
        model[0].bias[:] = 0.0 if alive else -100.0
    found = HalvesAlignment().measure(snapshot_of(task, model=model))["halves_alignment"]
    assert found == pytest.approx(expected, nan_ok=True)
