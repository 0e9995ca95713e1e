"""Mixed precision with a real scaler, and compiled models: the same moments, the same weights."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from critbatch.monitor import GradientNoiseMonitor
from critbatch.noise import noise_moments

from .loops import batches, gradients_at, parts_of_batch, perceptron

SIZE, OVERFLOWS = 12, 3  # the step whose gradients are made infinite
pytestmark = pytest.mark.filterwarnings("ignore:.*lr_scheduler.*")


def scaled(kind: torch.dtype, parts: list[int], *, watched: bool) -> tuple[GradientNoiseMonitor | None, list[Tensor]]:
    model = perceptron(dtype=torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=2)
    monitor = None
    if watched:
        monitor = GradientNoiseMonitor(model, optimizer, every=1, scaler=scaler, reduction="share", unit="micro_batch")
    seen = []
    for step, batch in enumerate(batches(7, SIZE, dtype=torch.float32)):
        seen.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())
        optimizer.zero_grad()
        for inputs, targets in parts_of_batch(batch, parts):
            with torch.autocast("cpu", kind):
                loss = F.cross_entropy(model(inputs), targets, reduction="sum") / SIZE
            scaler.scale(loss * math.inf if step == OVERFLOWS else loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        scaler.step(optimizer)
        scaler.update()
    return monitor, [*seen, nn.utils.parameters_to_vector(model.parameters()).detach().clone()]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_a_scaler(kind: torch.dtype) -> None:
    parts = [4, 4, 4]
    monitor, seen = scaled(kind, parts, watched=True)
    assert monitor is not None
    assert all(torch.equal(one, two) for one, two in zip(seen, scaled(kind, parts, watched=False)[1], strict=True))
    assert torch.equal(seen[OVERFLOWS], seen[OVERFLOWS + 1])  # the scaler skipped it
    some = batches(7, SIZE, dtype=torch.float32)
    del some[OVERFLOWS], seen[OVERFLOWS]
    assert [one.step for one in monitor.history.measured] == [1, 2, 3, 4, 5]  # steps that the optimizer made
    for one in monitor.history.measured:
        pieces = [(inputs.double(), targets) for inputs, targets in parts_of_batch(some[one.step], parts)]
        rows = gradients_at(perceptron(), seen[one.step].double(), pieces)
        trace, norm = noise_moments(rows, torch.full((3,), 4.0, dtype=torch.float64))
        assert one.moments.traces.sum() == pytest.approx(float(trace), rel=0.02)  # half precision: 8 bits in bfloat16
        assert one.moments.squared_norms.sum() == pytest.approx(float(norm), abs=0.02 * float(trace))


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_model() -> None:
    def train(*, compiled: bool) -> tuple[GradientNoiseMonitor, Tensor]:
        model = perceptron()
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        called = torch.compile(model, backend="aot_eager") if compiled else model
        monitor = GradientNoiseMonitor(called, optimizer, every=1, unit="micro_batch")
        for batch in batches(4, SIZE):
            optimizer.zero_grad()
            for inputs, targets in parts_of_batch(batch, [6, 6]):
                F.cross_entropy(called(inputs), targets).backward()
            optimizer.step()
        return monitor, nn.utils.parameters_to_vector(model.parameters()).detach()

    (monitor, weights), (plain, _) = train(compiled=True), train(compiled=False)
    assert monitor.messages == []
    torch.testing.assert_close(weights, train(compiled=False)[1], rtol=1e-9, atol=1e-12)
    for one, two in zip(monitor.history.measured, plain.history.measured, strict=True):
        assert one.moments.traces == pytest.approx(two.moments.traces, rel=1e-6)
        assert one.moments.squared_norms.sum() == pytest.approx(two.moments.squared_norms.sum(), rel=1e-6)
