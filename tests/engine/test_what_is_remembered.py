"""Models that a name, a revision and an evaluation cannot tell apart, and memory that is written in place."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from critbatch.budgets.steps import Steps
from critbatch.engine import choice, population, sequential

from ..problems import blob_task, run_of


def trained_alike(task, **changes):
    """Train in both engines; fail if they differ; return the notes."""
    run = run_of(task, dtype="float64", budget=Steps(20), seed=1, **changes)
    ours = population.train({task.name: task}, (run,), engine="population")[0]
    theirs = sequential.train({task.name: task}, (run,))[0]
    assert ours.ending is theirs.ending
    pairs = zip(ours.records["value"].to_list(), theirs.records["value"].to_list(), strict=True)
    assert max(abs(one - other) / (1 + abs(other)) for one, other in pairs) <= 1e-10
    return ours.note


def frozen_first_layer() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    model[0].requires_grad_(False)
    return model


def test_a_frozen_layer_is_another_step(fresh, monkeypatch):
    assert trained_alike(blob_task()) == ""
    monkeypatch.setattr(choice, "_chosen", {})  # as in another process
    assert trained_alike(blob_task(frozen_first_layer)) == ""


def same_value_other_gradient(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(2 * outputs - outputs.detach(), targets, reduction="none")


def test_a_loss_with_other_gradients_is_another_step(fresh, monkeypatch):
    assert trained_alike(blob_task()) == ""
    monkeypatch.setattr(choice, "_chosen", {})
    assert trained_alike(blob_task(loss=same_value_other_gradient)) == ""


class Scattered(nn.Module):
    """Writes into copies of its hidden units."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.first, self.last, self.times = nn.Linear(4, 8), nn.Linear(8, 3), times

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.first(inputs))
        total = hidden
        for at in range(self.times):
            places = torch.full((len(inputs), 1), at, dtype=torch.int64)
            total = total + hidden.scatter(1, places, 0.5)
        return self.last(total)


@pytest.mark.parametrize("times", [1, 2])
def test_what_is_copied_and_then_changed_keeps_its_source(fresh, times):
    assert trained_alike(blob_task(lambda: Scattered(times))) == ""


class Wrapping(nn.Module):
    """Doubles small integers, which wrap around."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.last((inputs * 2).to(self.last.weight.dtype) / 255)


def test_small_integers_wrap_around(fresh):
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (96, 4), generator=draw, dtype=torch.uint8)
    labels = torch.randint(3, (96,), generator=draw)
    task = blob_task()
    changed = type(task)(name="bytes", model=Wrapping, train=(inputs, labels), test=(inputs, labels))
    assert trained_alike(changed) == ""


def test_a_tier_that_failed_its_check_is_not_believed_by_the_next_process(fresh, monkeypatch):
    checks = []

    def refuse(task, run, device, make):
        checks.append(device)
        if len(checks) == 1:
            raise choice.Unsupported("made up")

    monkeypatch.setattr(choice, "check_steps", refuse)
    run = run_of(blob_task(), budget=Steps(20))
    for _ in range(2):
        monkeypatch.setattr(choice, "_chosen", {})
        found = choice.choose(blob_task(), run, torch.device("cpu"), steps=1e6, is_forced=True)
        assert found.tier == "stacked"
        assert "made up" in found.reason


def test_data_unlike_those_compiled_for_are_trained_in_the_plain_loop(fresh, monkeypatch):
    task = blob_task()
    monkeypatch.setattr("critbatch.engine.native.steps.CompiledStep.advance", lambda *given: [][0])
    assert "IndexError in the compiled engine" in trained_alike_but_checked(task, monkeypatch)

    def unlike(*given):
        raise TypeError("the step is compiled for other examples")

    monkeypatch.setattr("critbatch.engine.native.steps.CompiledStep.advance", unlike)
    assert "TypeError in the compiled engine: the step is compiled for other" in trained_alike_but_checked(
        task, monkeypatch
    )


def trained_alike_but_checked(task, monkeypatch):
    """Train with the check and the timing left out, so that the engine fails only when it trains."""
    monkeypatch.setattr(choice, "_chosen", {})
    monkeypatch.setattr(choice, "check_steps", lambda *given: None)
    monkeypatch.setattr(choice, "_step_seconds", lambda *given: 1e-9)
    return trained_alike(task)
