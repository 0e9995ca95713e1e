"""What happens outside of measured steps: nothing; and where the numbers of measured ones go."""

from collections.abc import Mapping
from typing import final

import pytest
from torch import nn
from typing_extensions import override

from critbatch.monitor import GradientNoiseMonitor
from critbatch.tracker import Tracker

from .loops import OPTIMIZERS, batches, perceptron, train


@final
class Kept(Tracker):
    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.is_closed = False

    @override
    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.rows.append((step, dict(values)))

    @override
    def close(self) -> None:
        self.is_closed = True


def hooks(model: nn.Module) -> int:
    layers = sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.modules())
    return layers + sum(len(one._backward_hooks or ()) for one in model.parameters())


@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("alignment", [False, True])
def test_other_steps_are_not_listened_to(name: str, alignment: bool) -> None:
    model = perceptron()
    optimizer = OPTIMIZERS[name](model)
    GradientNoiseMonitor(model, optimizer, every=4, alignment=alignment)
    heard = []
    for batch in batches(10, 12):
        heard.append(hooks(model) > 0)
        train(model, optimizer, [batch])
    # the first step shows how gradients are accumulated; with alignment the one after a measured one is met
    assert heard == [step in (0, 1, 5, 9) or (alignment and step in (2, 6)) for step in range(10)]


def test_trackers_get_the_moments_and_the_noise_scale() -> None:
    model, kept = perceptron(), Kept()
    optimizer = OPTIMIZERS["SGD"](model)
    with GradientNoiseMonitor(model, optimizer, every=2, trackers=[kept]) as monitor:
        train(model, optimizer, batches(10, 12))
        reading = monitor.reading()
    assert kept.is_closed
    assert [step for step, _ in kept.rows] == [1, 3, 5, 7, 9]
    for (_, values), one in zip(kept.rows, monitor.history.measured, strict=True):
        assert values["noise/trace"] == one.moments.traces.sum()
        assert values["noise/squared_norm"] == one.moments.squared_norms.sum()
        assert values["noise/batch_size"] == 12
    last = kept.rows[-1][1]
    expected = {"": reading.noise_scale.value, "_low": reading.noise_scale.low, "_high": reading.noise_scale.high}
    assert {end: last.get(f"noise/scale{end}") for end in expected} == expected
