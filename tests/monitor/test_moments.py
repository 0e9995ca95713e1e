"""The monitor's moments are those of a direct computation at the same parameters, and training does not change."""

from typing import Any

import numpy as np
import pytest
import torch

from critbatch.monitor import GradientNoiseMonitor
from critbatch.noise import noise_moments

from .loops import OPTIMIZERS, batches, gradients_at, parts_of_batch, perceptron, train

SIZE = 12


@pytest.mark.parametrize("name", ["SGD", "momentum", "Adam", "AdamW"])
@pytest.mark.parametrize("clip", [None, 0.01])
def test_single_examples(name: str, clip: float | None) -> None:
    model = perceptron()
    optimizer = OPTIMIZERS[name](model)
    monitor = GradientNoiseMonitor(model, optimizer, every=2)
    some = batches(7, SIZE)
    seen = train(model, optimizer, some, clip=clip, monitor=monitor)
    assert not monitor.messages
    assert [one.step for one in monitor.history.measured] == [1, 3, 5]
    for one in monitor.history.measured:
        rows = gradients_at(model, seen[one.step], list(parts_of_batch(some[one.step], [1] * SIZE)))
        trace, norm = noise_moments(rows, torch.ones(SIZE, dtype=torch.float64))
        assert one.moments.traces.sum() == pytest.approx(float(trace), rel=1e-10)
        assert one.moments.squared_norms.sum() == pytest.approx(float(norm), rel=1e-8)
        assert one.moments.examples == SIZE


@pytest.mark.parametrize("reduction", ["mean", "mean_over_steps", "share", "sum"])
@pytest.mark.parametrize("unit", ["auto", "example"])
def test_accumulation(reduction: Any, unit: Any) -> None:
    model, parts = perceptron(), [4, 4, 4]
    optimizer = OPTIMIZERS["SGD"](model)
    monitor = GradientNoiseMonitor(model, optimizer, every=1, reduction=reduction, unit=unit)
    some = batches(3, SIZE)
    seen = train(model, optimizer, some, parts=parts, reduction=reduction, clip=1e-3)
    assert not monitor.messages
    assert len(monitor.history.measured) == 2
    for one in monitor.history.measured:
        pieces = list(parts_of_batch(some[one.step], parts if unit == "auto" else [1] * SIZE))
        rows = gradients_at(model, seen[one.step], pieces)
        sizes = torch.tensor([len(x) for x, _ in pieces], dtype=torch.float64)
        trace, norm = noise_moments(rows, sizes)
        assert one.moments.traces.sum() == pytest.approx(float(trace), rel=1e-9)
        assert one.moments.squared_norms.sum() == pytest.approx(float(norm), rel=1e-7)


@pytest.mark.parametrize("reduction", ["share", "sum"])
def test_unequal_micro_batches_are_weighted(reduction: Any) -> None:
    model, parts = perceptron(), [7, 4, 1]
    optimizer = OPTIMIZERS["SGD"](model)
    monitor = GradientNoiseMonitor(model, optimizer, every=1, reduction=reduction)
    some = batches(2, SIZE)
    seen = train(model, optimizer, some, parts=parts, reduction=reduction)
    (one,) = monitor.history.measured
    rows = gradients_at(model, seen[1], list(parts_of_batch(some[1], parts)))
    trace, norm = noise_moments(rows, torch.tensor(parts, dtype=torch.float64))
    assert one.moments.traces.sum() == pytest.approx(float(trace), rel=1e-9)
    assert one.moments.squared_norms.sum() == pytest.approx(float(norm), rel=1e-7)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("parts", [[SIZE], [6, 6], [5, 4, 3]])
def test_weights_are_the_same_bit_for_bit(name: str, parts: list[int]) -> None:
    found = []
    for watched in (False, True):
        model = perceptron(dtype=torch.float32)
        optimizer = OPTIMIZERS[name](model)
        monitor = GradientNoiseMonitor(model, optimizer, every=2) if watched else None
        before = torch.get_rng_state()
        train(model, optimizer, batches(9, SIZE, dtype=torch.float32), parts=parts, clip=0.1)
        assert torch.equal(torch.get_rng_state(), before)
        if monitor is not None:
            assert len(monitor.history.measured) == 4
        found.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach())
    assert torch.equal(found[0], found[1])


def test_adam_sees_the_preconditioner_of_before_the_batch() -> None:
    model = perceptron()
    optimizer = OPTIMIZERS["Adam"](model)
    monitor = GradientNoiseMonitor(model, optimizer, every=1)
    some = batches(2, SIZE)
    train(model, optimizer, some[:1])
    scales = []
    for parameter in model.parameters():
        state = optimizer.state[parameter]
        scales.append(1 / ((state["exp_avg_sq"] / (1 - 0.999 ** float(state["step"]))).sqrt() + 1e-8).flatten())
    seen = train(model, optimizer, some[1:])
    (one,) = monitor.history.measured
    assert one.weighted is not None
    rows = gradients_at(model, seen[0], list(parts_of_batch(some[1], [1] * SIZE))) * torch.cat(scales)
    trace, norm = noise_moments(rows, torch.ones(SIZE, dtype=torch.float64))
    assert one.weighted.traces.sum() == pytest.approx(float(trace), rel=1e-9)
    assert one.weighted.squared_norms.sum() == pytest.approx(float(norm), rel=1e-7)


def test_layers_add_up_and_groups_are_named() -> None:
    model = perceptron()
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters(), "name": "first"}, {"params": model[1].parameters()}, {"params": model[3].parameters()}],
        0.1,
    )  # fmt: skip
    monitor = GradientNoiseMonitor(model, optimizer, every=1)
    train(model, optimizer, batches(6, SIZE))
    reading = monitor.reading()
    assert list(reading.layers) == ["0", "1", "3"]
    assert list(reading.groups) == ["first", "1", "2"]
    assert reading.norm_layers[0].definition == reading.noise_scale.definition
    assert reading.norm_layers[0].count == 5


def test_lag_one_alignment_of_plain_sgd() -> None:
    model = perceptron()
    optimizer = OPTIMIZERS["SGD"](model)
    monitor = GradientNoiseMonitor(model, optimizer, every=3)
    some = batches(9, SIZE)
    seen = train(model, optimizer, some, clip=1e-3)
    rows = [gradients_at(model, flat, [batch])[0] for flat, batch in zip(seen, some, strict=True)]
    products = [float(rows[step] @ rows[step + 1]) for step in (1, 4, 7)]
    assert [one for one, _ in monitor.history.products] == pytest.approx(products, rel=1e-9)


def test_alignment_of_updates_with_momentum() -> None:
    model = perceptron()
    optimizer = OPTIMIZERS["momentum"](model)
    monitor = GradientNoiseMonitor(model, optimizer, every=3)
    some = batches(9, SIZE)
    seen = train(model, optimizer, some)
    rows = [gradients_at(model, flat, [batch])[0] for flat, batch in zip(seen, some, strict=True)]
    cosines = []
    for step in (1, 4, 7):
        update = seen[step] - seen[step + 1]
        cosines.append(float(update @ rows[step + 1] / update.norm() / rows[step + 1].norm()))
    assert monitor.history.cosines == pytest.approx(cosines, rel=1e-9)


def test_reading_is_json() -> None:
    import json

    model = perceptron()
    optimizer = OPTIMIZERS["Adam"](model)
    monitor = GradientNoiseMonitor(model, optimizer, every=1)
    json.dumps(monitor.reading().to_json())
    train(model, optimizer, batches(8, SIZE))
    document = monitor.reading().to_json()
    json.dumps(document)
    assert document["measured"] == 7
    assert np.isfinite(document["trace"]["value"])
