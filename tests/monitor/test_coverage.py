"""The printed interval holds the truth about as often as it says, in a real loop whose true gradient is known."""

import pytest
import torch
from torch.nn import functional as F

from critbatch.monitor import GradientNoiseMonitor
from critbatch.monitor.history import ratio
from critbatch.monitor.window import Moments
from critbatch.noise import noise_moments

from .loops import batches, gradients_at, parts_of_batch, perceptron

POPULATION, SIZE, MEASURED = 400, 32, 4800


@pytest.fixture(scope="module")
def measured() -> tuple[float, list[Moments]]:
    """Return the noise scale of the distribution drawn from, and measurements of it along a training at rate 0."""
    (everything,) = batches(1, POPULATION, seed=5)
    model = perceptron(seed=3)
    flat = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    rows = gradients_at(model, flat, list(parts_of_batch(everything, [1] * POPULATION)))
    trace, _ = noise_moments(rows, torch.ones(POPULATION, dtype=torch.float64))
    truth = float(trace * (POPULATION - 1) / POPULATION / rows.mean(0).square().sum())  # drawn with replacement
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    monitor = GradientNoiseMonitor(model, optimizer, every=1, alignment=False)
    generator = torch.Generator().manual_seed(11)
    for _ in range(MEASURED + 1):
        chosen = torch.randint(POPULATION, (SIZE,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(everything[0][chosen]), everything[1][chosen]).backward()
        optimizer.step()
    assert torch.equal(torch.nn.utils.parameters_to_vector(model.parameters()).detach(), flat)
    return truth, [one.moments for one in monitor.history.measured]


@pytest.mark.parametrize("count", [8, 24])
def test_coverage(count: int, measured: tuple[float, list[Moments]]) -> None:
    truth, moments = measured
    studies = [moments[start : start + count] for start in range(0, MEASURED, count)]
    held = 0
    for some in studies:
        found = ratio(some, None, unit="examples", level=0.95)
        low, high = found.low or 0.0, float("inf") if found.high is None else found.high
        held += low <= truth <= high
    share = held / len(studies)
    slack = 2 * (0.05 * 0.95 / len(studies)) ** 0.5  # wanted: 92 to 97 %; 600 and 200 studies see it to 2 and 3 points
    assert 0.92 - slack < share < 0.97 + slack, share


def test_means_are_unbiased(measured: tuple[float, list[Moments]]) -> None:
    truth, moments = measured
    traces = torch.tensor([one.traces.sum() for one in moments])
    norms = torch.tensor([one.squared_norms.sum() for one in moments])
    found = float(traces.mean() / norms.mean())
    error = float((traces - truth * norms).std() / norms.mean() / len(moments) ** 0.5)
    assert abs(found - truth) < 4 * error
    assert error / truth < 0.05  # the smallest bias that this test sees is four times that
