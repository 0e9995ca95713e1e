"""Effective and stable rank: spectra with known answers, planted redundancy, and a twin by eigenvalues."""

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.measurements.effective_rank import EffectiveRank, effective_rank, singular_values, stable_rank
from tests.problems import blob_task

from .test_hidden_units import snapshot_of


@pytest.mark.parametrize(
    ("spectrum", "effective", "stable"),
    [((3.0, 3.0, 3.0), 3.0, 3.0), ((2.0, 1.0, 1.0), 2**1.5, 1.5), ((5.0, 0.0), 1.0, 1.0), ((0.0, 0.0), 0.0, 0.0)],
)
def test_known_spectra(spectrum, effective, stable):
    values = torch.tensor(spectrum, dtype=torch.float64)
    # 1/2 log 2 + 2 x 1/4 log 4 = 3/2 log 2
    assert effective_rank(values) == pytest.approx(effective, rel=1e-12)
    assert stable_rank(values) == pytest.approx(stable, rel=1e-12)
    assert effective_rank(7 * values) == pytest.approx(effective, rel=1e-12)


def test_a_number_that_is_not_finite_has_no_rank():
    values = singular_values(torch.tensor([[1.0, torch.inf]]))
    assert np.isnan([effective_rank(values), stable_rank(values)]).all()


def naive(model: nn.Sequential, inputs: np.ndarray) -> list[float]:
    """Return the four quantities by eigenvalues of Gram matrices, averaged over the hidden layers."""
    states, rows = inputs, []
    for part in list(model)[:-1]:
        if isinstance(part, nn.Linear):
            weight = part.weight.detach().numpy().astype(float)
            states = states @ weight.T + part.bias.detach().numpy()
            continue
        states = np.tanh(states)
        row = []
        for matrix in (states - states.mean(0), weight):
            eigenvalues = np.maximum(np.linalg.eigvalsh(matrix.T @ matrix), 0)
            shares = np.sqrt(eigenvalues) / np.sqrt(eigenvalues).sum()
            entropy = sum(-share * np.log(share) for share in shares if share > 0)
            row += [np.exp(entropy), eigenvalues.sum() / eigenvalues.max()]
        rows.append(row)
    return list(np.mean(rows, axis=0))


def test_it_is_the_naive_rank():
    task = blob_task(lambda: nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 3)))
    model = task.initialise(1).double()
    found = EffectiveRank().measure(snapshot_of(task, model=model))
    expected = naive(model, task.validation.inputs.double().numpy())
    assert list(found) == list(EffectiveRank().quantities)
    # eigenvalues of a Gram matrix know singular values near 0 to the root of rounding only
    assert list(found.values()) == pytest.approx(expected, rel=1e-6)


def test_planted_redundancy_is_found():
    """Units in two groups of copies use two directions, or one if a group is dead."""
    task = blob_task(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))
    model = task.initialise(0)
    with torch.no_grad():
        model[0].weight[:] = torch.eye(4)[[0, 0, 0, 0, 1, 1, 1, 1]]
        model[0].bias[:] = 0
    found = EffectiveRank().measure(snapshot_of(task, model=model))
    assert 1.5 < found["activation_effective_rank"] <= 2
    assert found["weight_effective_rank"] == pytest.approx(2, rel=1e-9)
    assert found["weight_stable_rank"] == pytest.approx(2, rel=1e-9)
    with torch.no_grad():
        model[0].bias[4:] = -100
    found = EffectiveRank().measure(snapshot_of(task, model=model))
    assert found["activation_effective_rank"] == pytest.approx(1, rel=1e-6)
    assert found["activation_stable_rank"] == pytest.approx(1, rel=1e-6)
