"""What every framework's training is compared with: the same one as a plain loop, and moments computed directly."""

import importlib.util

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from critbatch.monitor import GradientNoiseMonitor
from critbatch.noise import noise_moments

from ..monitor.loops import Batch, batches, gradients_at, perceptron
from ..requirements import require

SIZE, ACCUMULATED, CLIP, RATE, EPOCHS = 4, 4, 0.05, 0.1, 2
COUNT = 44  # 11 micro-batches: the last step of an epoch has three, not four


def needs(package: str) -> None:
    require(importlib.util.find_spec(package) is not None, f"{package} is not installed")


def data() -> Batch:
    return batches(1, COUNT)[0]


def windows(size: int = SIZE, accumulated: int = ACCUMULATED) -> list[list[Batch]]:
    inputs, targets = data()
    pieces = list(zip(inputs.split(size), targets.split(size), strict=True))
    return [pieces[i : i + accumulated] for i in range(0, len(pieces), accumulated)] * EPOCHS


def train(some: list[list[Batch]], divisor: float) -> list[Tensor]:
    """Train as frameworks do: each loss divided by the number of accumulation steps, also in a short last step."""
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), RATE)
    seen = []
    for window in some:
        seen.append(flat(model))
        optimizer.zero_grad()
        for inputs, targets in window:
            (F.cross_entropy(model(inputs), targets) / divisor).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
    return [*seen, flat(model)]


def flat(model: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def assert_same_moments(monitor: GradientNoiseMonitor, seen: list[Tensor], some: list[list[Batch]], each: bool) -> None:
    """Compare with moments from gradients of single examples, or of micro-batches, at the plain loop's parameters."""
    assert monitor.messages == []
    assert monitor.steps == len(some)
    assert [one.step for one in monitor.history.measured] == list(range(1, len(some)))
    for one in monitor.history.measured:
        pieces = some[one.step]
        if each:
            pieces = [(x[None], y[None]) for inputs, targets in pieces for x, y in zip(inputs, targets, strict=True)]
        rows = gradients_at(perceptron(), seen[one.step], pieces)
        sizes = torch.tensor([len(x) for x, _ in pieces], dtype=torch.float64)
        trace, norm = noise_moments(rows, sizes)
        assert one.moments.examples == sizes.sum()
        assert one.moments.traces.sum() == pytest.approx(float(trace), rel=1e-8)
        assert one.moments.squared_norms.sum() == pytest.approx(float(norm), rel=1e-6, abs=1e-12)


def assert_same_alignment(monitor: GradientNoiseMonitor, seen: list[Tensor], some: list[list[Batch]]) -> None:
    """Compare the products of consecutive gradients; each is the mean of the micro-batches'."""
    rows = [gradients_at(perceptron(), one, window).mean(0) for one, window in zip(seen, some, strict=False)]
    steps = [one.step for one in monitor.history.measured][:-1]
    expected = [float(rows[step] @ rows[step + 1]) for step in steps]
    assert np.array([one for one, _ in monitor.history.products]) == pytest.approx(expected, rel=1e-8)
