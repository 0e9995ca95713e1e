"""Batches that grow or come again, and rules of several steps a batch: the compiled engine and loops written by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from critbatch.budgets.epochs import Epochs
from critbatch.budgets.steps import Steps
from critbatch.engine import population, sequential
from critbatch.engine.check import STEPS, check_steps
from critbatch.engine.native.values import Unsupported
from critbatch.engine.step import step_of
from critbatch.optimizers.adam import Adam
from critbatch.optimizers.block_sequential import BlockSequential
from critbatch.optimizers.proximal import Proximal
from critbatch.plan import Run
from critbatch.randomness import generator
from critbatch.sampling import LastBatch
from critbatch.samplings.growing import Growing
from critbatch.samplings.repeated import Repeated
from critbatch.schedules.cosine import Cosine
from critbatch.task import Task
from tests.problems import MODELS, blob_task, run_of, zoo_task

from .by_hand import assert_alike, distance

CPU = torch.device("cpu")
RATE = 0.2
CASES = {
    "growing, leftovers, adam": (
        blob_task,
        {
            "sampling": Growing((2, 4), (0.2, 1.0, 0.5), LastBatch.WEIGHT), "optimizer": Adam(), "batch_size": 40,
            "budget": Epochs(6), "schedule": Cosine(),
        },
    ),
    "proximal, clipped, batch norm": (
        lambda: blob_task(MODELS["batch_norm"]), {"optimizer": Proximal(4, 0.5, 0.3), "sampling": Repeated(4)},
    ),
    "more blocks than layers, some parameters not trained": (
        lambda: zoo_task("branched"), {"optimizer": BlockSequential(7), "sampling": Repeated(7), "batch_size": 6},
    ),
}  # fmt: skip


def runs_of(task: Task, **changes) -> tuple[Run, ...]:
    fields = {"budget": Steps(50), "dtype": "float64"} | changes
    return tuple(run_of(task, learning_rate=rate, seed=seed, **fields) for rate, seed in ((RATE, 0), (RATE / 3, 7)))


@pytest.mark.parametrize("case", CASES)
def test_the_compiled_engine_has_the_plain_loops_numbers(case):
    make, changes = CASES[case]
    task = make()
    runs = runs_of(task, **changes)
    found = population.train({task.name: task}, runs, engine="population")
    assert [one.note for one in found] == ["", ""]
    assert_alike(found, sequential.train({task.name: task}, runs), 1e-10)


def trained(task: Task, run: Run, batches: int, move: Callable[[nn.Module, Callable[[], Tensor]], None]) -> list[float]:
    """Return the training loss after `move` on each of so many batches, in a loop of this file's own."""
    data = task.train.to(CPU, torch.float64)
    model = task.initialise(run.seed).double().train()
    losses, left, epoch = [], [], 0
    while len(losses) < batches:
        if not left:
            order = torch.randperm(len(data), generator=generator(run.seed, "order", epoch))
            left, epoch = [*order.split(run.batch_size)], epoch + 1
        chosen = left.pop(0)

        def batch_loss(chosen: Tensor = chosen) -> Tensor:
            return task.losses(model(data.inputs[chosen]), data.targets[chosen]).mean()

        move(model, batch_loss)
        with torch.no_grad():
            losses.append(float(task.losses(model(data.inputs), data.targets).mean()))
    return losses


def recorded(task: Task, run: Run, *, engine: population.Engine) -> dict[int, float]:
    """Return the training loss by step."""
    (found,) = population.train({task.name: task}, (run,), engine=engine)
    rows = found.records.filter(found.records["quantity"] == "train_loss")
    return dict(zip(rows["step"].to_list(), rows["value"].to_list(), strict=True))


@pytest.mark.parametrize("engine", ["population", "sequential"])
def test_proximal_steps_are_those_of_a_loop_over_the_proximal_objective(engine):
    task, strength = blob_task(), 0.7
    run = runs_of(task, optimizer=Proximal(3, strength), sampling=Repeated(3), budget=Steps(36))[0]

    def move(model: nn.Module, batch_loss: Callable[[], Tensor]) -> None:
        anchor = [one.detach().clone() for one in model.parameters()]
        for _ in range(3):
            away = sum((one - other).square().sum() for one, other in zip(model.parameters(), anchor, strict=True))
            gradients = torch.autograd.grad(batch_loss() + strength / 2 * away, list(model.parameters()))
            with torch.no_grad():
                for one, gradient in zip(model.parameters(), gradients, strict=True):
                    one -= RATE * gradient

    by_hand = trained(task, run, 12, move)
    losses = recorded(task, run, engine=engine)
    seen = [step for step in losses if step and step % 3 == 0]
    assert len(seen) > 3
    assert distance([losses[step] for step in seen], [by_hand[step // 3 - 1] for step in seen]) <= 1e-12


@pytest.mark.parametrize("engine", ["population", "sequential"])
def test_blocks_move_in_turn_by_gradients_that_see_the_blocks_before(engine):
    task = blob_task(lambda: nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)), nn.Linear(4, 3)))
    run = runs_of(task, optimizer=BlockSequential(2), sampling=Repeated(2), budget=Steps(24))[0]

    def move(model: nn.Module, batch_loss: Callable[[], Tensor]) -> None:
        first, second, third, fourth = model.children()
        for layers in ((first, second), (third, fourth)):
            moving = [parameter for layer in layers for parameter in layer.parameters()]
            gradients = torch.autograd.grad(batch_loss(), moving)
            with torch.no_grad():
                for one, gradient in zip(moving, gradients, strict=True):
                    one -= RATE * gradient

    by_hand = trained(task, run, 12, move)
    losses = recorded(task, run, engine=engine)
    seen = [step for step in losses if step and step % 2 == 0]
    assert len(seen) > 3
    assert distance([losses[step] for step in seen], [by_hand[step // 2 - 1] for step in seen]) <= 1e-12


def test_a_check_sees_every_size_and_more_than_a_cycle(monkeypatch):
    task = blob_task()
    run = run_of(task, batch_size=32, sampling=Growing((2, 4), (0.125, 0.5, 1.0)), optimizer=Proximal(7))
    seen: list[tuple[int, int]] = []

    def make(exact: Run):
        step = step_of(task, exact.optimizer, torch.float64)
        monkeypatch.setattr("critbatch.engine.check.block", lambda runs, group, *rest: (rest[2], group[exact.seed]))

        class Watching:
            def advance(self, active, asked):
                seen.append((asked[0], len(asked[1])))
                return [torch.zeros(len(asked[1]), dtype=torch.float64)]

            def module(self, replica):
                return task.initialise(0).double()

        return step, Watching()

    with pytest.raises(Unsupported, match="differ by"):
        check_steps(task, run, CPU, make)
    assert seen == [(4, 8), (16, 8), (32, 8)]
    assert STEPS < 8
