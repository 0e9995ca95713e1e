"""Wrong uses are said once, with what to do, and never stop or change a training."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from critbatch.monitor import GradientNoiseMonitor

from .loops import OPTIMIZERS, batches, perceptron, train

SIZE = 12


def watched(
    model: nn.Module | None = None, **options: Any
) -> tuple[nn.Module, torch.optim.Optimizer, GradientNoiseMonitor]:
    model = perceptron() if model is None else model
    optimizer = OPTIMIZERS["SGD"](model)
    return model, optimizer, GradientNoiseMonitor(model, optimizer, **{"every": 1, **options})


@pytest.mark.parametrize(("options", "words"), [({"every": 0}, "every=0"), ({"level": 1.0}, "level=1.0")])
def test_bad_arguments(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        watched(**options)


def test_an_optimizer_of_another_model() -> None:
    with pytest.raises(ValueError, match="trains no parameter"):
        GradientNoiseMonitor(perceptron(), OPTIMIZERS["SGD"](perceptron()))


def test_no_backward_between_steps() -> None:
    model, optimizer, monitor = watched()
    train(model, optimizer, batches(3, SIZE))
    optimizer.zero_grad()
    optimizer.step()
    optimizer.step()
    assert [text for text in monitor.messages if "no backward" in text] == monitor.messages
    assert len(monitor.messages) == 1
    train(model, optimizer, batches(2, SIZE))
    assert len(monitor.history.measured) == 4


def test_changed_parameters() -> None:
    model, optimizer, monitor = watched()
    train(model, optimizer, batches(3, SIZE))
    model[0].bias.requires_grad_(False)
    train(model, optimizer, batches(3, SIZE))
    assert len(monitor.messages) == 1
    assert "from 6 to 5" in monitor.messages[0]
    assert monitor.why_off is not None
    assert len(monitor.history.measured) == 3


def test_a_sum_where_a_mean_was_declared() -> None:
    model, optimizer, monitor = watched()
    for inputs, targets in batches(3, SIZE):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), targets, reduction="sum")
        monitor.observe(loss)
        loss.backward()
        optimizer.step()
    assert len(monitor.messages) == 1
    assert "reduction='sum'" in monitor.messages[0]


@pytest.mark.parametrize(
    ("reduce", "said"),
    [
        (lambda losses: losses.mean(), False), (lambda losses: losses.mean() / 4, False), (lambda losses: losses.sum(), True),
        (lambda losses: 0.5 * losses.sum() + 0.0, True),
    ],
)  # fmt: skip
def test_how_a_loss_was_reduced(reduce: Any, said: bool) -> None:
    model, _, monitor = watched()
    inputs, targets = batches(1, SIZE)[0]
    monitor.observe(reduce(F.cross_entropy(model(inputs), targets, reduction="none")))
    assert bool(monitor.messages) == said


def test_one_micro_batch_and_no_route() -> None:
    model, optimizer, monitor = watched(unit="micro_batch")
    train(model, optimizer, batches(8, SIZE))
    assert len(monitor.messages) == 1
    assert "unit='example'" in monitor.messages[0]
    assert not monitor.history.measured


def test_gradients_that_are_not_finite_are_left_out() -> None:
    model, optimizer, monitor = watched()
    some = batches(6, SIZE)
    for step, (inputs, targets) in enumerate(some):
        before = copy.deepcopy(model.state_dict())
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs * (torch.inf if step in (2, 3) else 1.0)), targets)
        loss.backward()
        optimizer.step()
        if step in (2, 3):
            model.load_state_dict(before)
    assert len(monitor.messages) == 1
    assert "not finite" in monitor.messages[0]
    assert [one.step for one in monitor.history.measured] == [1, 4, 5]


def test_zero_grad_forgotten() -> None:
    model, optimizer, monitor = watched()
    for inputs, targets in batches(4, SIZE):
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    assert len(monitor.messages) == 1
    assert "zero_grad" in monitor.messages[0]


def test_skipped_steps_of_mixed_precision_begin_anew() -> None:
    model, optimizer, monitor = watched()
    some = batches(5, SIZE)
    for step, (inputs, targets) in enumerate(some):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        if step != 2:  # as a scaler that found an infinity
            optimizer.step()
    assert not monitor.messages
    assert [one.moments.examples for one in monitor.history.measured] == [SIZE] * 3


def test_a_scaled_loss_reads_the_same() -> None:
    class Scaler:
        def get_scale(self) -> float:
            return 1024.0

    found = []
    for scaler in (None, Scaler()):
        model = perceptron()
        optimizer = OPTIMIZERS["SGD"](model)
        monitor = GradientNoiseMonitor(model, optimizer, every=1, scaler=scaler)
        factor = 1.0 if scaler is None else scaler.get_scale()
        for inputs, targets in batches(4, SIZE):
            optimizer.zero_grad()
            (factor * F.cross_entropy(model(inputs), targets)).backward()
            for one in model.parameters():
                one.grad /= factor
            optimizer.step()
        found.append(
            [
                (float(one.moments.traces.sum()), float(one.moments.squared_norms.sum()))
                for one in monitor.history.measured
            ]
        )
        found[-1] += monitor.history.products
    assert [b for pair in found[0] for b in pair] == pytest.approx([b for pair in found[1] for b in pair], rel=1e-9)


def test_parameters_used_outside_of_their_layer_are_refused() -> None:
    class Sneaky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 3)

        def forward(self, values: Tensor) -> Tensor:
            return self.last(self.first(values) + F.linear(values, self.first.weight**2))

    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        sneaky = Sneaky().double()
    model, optimizer, monitor = watched(sneaky)
    train(model, optimizer, batches(4, SIZE))
    assert len(monitor.messages) == 1
    assert "'first.weight'" in monitor.messages[0]
    assert "micro-batches" in monitor.messages[0]
    assert not monitor.history.measured


def test_batch_norm_has_no_single_examples_but_micro_batches() -> None:
    def model() -> nn.Module:
        with torch.random.fork_rng():
            torch.default_generator.manual_seed(0)
            return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double()

    one, optimizer, monitor = watched(model())
    train(one, optimizer, batches(3, SIZE))
    assert "batch statistics" in monitor.messages[0]
    two, optimizer, monitor = watched(model())
    train(two, optimizer, batches(3, SIZE), parts=[6, 6])
    assert len(monitor.history.measured) == 2


def test_an_error_inside_never_reaches_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from critbatch.ghost import rules

    def broken(*_: object) -> Tensor:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(rules, "squared_norms", broken)
    model, optimizer, monitor = watched()
    train(model, optimizer, batches(4, SIZE))
    assert monitor.messages == ["switched off at step 1: ZeroDivisionError: planted"]


def test_close_leaves_no_hook() -> None:
    model, optimizer, monitor = watched()
    train(model, optimizer, batches(2, SIZE))
    with monitor:
        pass
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in model.modules())
    assert not any(one._backward_hooks for one in model.parameters())
    assert not optimizer._optimizer_step_pre_hooks
    train(model, optimizer, batches(2, SIZE))
    assert len(monitor.history.measured) == 1
