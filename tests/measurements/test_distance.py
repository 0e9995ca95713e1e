"""The distance from the start: a planted displacement, the first step by hand, a naive twin, no trace in training."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.measurement import Snapshot
from critbatch.measurements.distance import DistanceFromStart
from critbatch.randomness import generator
from tests.problems import blob_task, norm_mlp, run_of, zoo_task

ONE = DistanceFromStart()
NAME = "distance_from_start"
CPU = torch.device("cpu")


def snapshot_of(task, *, seed: int) -> Snapshot:
    return Snapshot(
        task=task, model=task.initialise(seed).train(), inputs=task.train.inputs, targets=task.train.targets,
        population=len(task.train), batch_size=4, learning_rate=0.1, generator=torch.Generator(), seed=seed,
    )  # fmt: skip


def seen(result) -> dict[int, float]:
    rows = result.records.filter(result.records["quantity"] == NAME)
    return dict(zip(rows["step"].to_list(), rows["value"].to_list(), strict=True))


def test_a_planted_displacement_is_found_and_nothing_else_counts():
    snapshot = snapshot_of(zoo_task("frozen"), seed=3)
    assert ONE.measure(snapshot)[NAME] == 0
    squares, draw = 0.0, torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in [*snapshot.model.parameters(), *snapshot.model.buffers()]:
            if value.is_floating_point():
                moved = torch.randn(value.shape, generator=draw)
                value += moved
                squares += float(moved.square().sum()) if value.requires_grad else 0.0
    # the sum start + displacement is rounded to single precision: 6e-8 of numbers of order 1
    assert ONE.measure(snapshot)[NAME] == pytest.approx(math.sqrt(squares), rel=1e-6)


def test_the_start_is_that_of_the_runs_own_seed():
    snapshot = snapshot_of(blob_task(), seed=1)
    assert ONE.measure(snapshot)[NAME] == 0
    assert ONE.measure(dataclasses.replace(snapshot, seed=2))[NAME] > 1


def test_the_first_step_of_gradient_descent_is_rate_times_gradient_long():
    task = blob_task()
    run = run_of(task, batch_size=96, learning_rate=0.25, budget=Steps(2), measurements=(ONE,), seed=4)
    model = task.initialise(4)
    torch.nn.functional.cross_entropy(model(task.train.inputs), task.train.targets).backward()
    length = math.sqrt(sum(float(one.grad.double().square().sum()) for one in model.parameters()))
    found = seen(train_run(task, run, CPU))
    assert found[0] == 0
    assert found[1] == pytest.approx(0.25 * length, rel=1e-5)  # single precision


def test_it_is_the_distance_of_the_state_dictionaries_of_a_naive_loop():
    task = blob_task(norm_mlp)
    model, start = task.initialise(0).train(), task.initialise(0).state_dict()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.125)
    order = list(run_of(task).sampling.epoch(96, 8, order=generator(0, "order", 0), base=generator(0, "order base")))
    for batch in order[:10]:
        optimizer.zero_grad()
        task.losses(model(task.train.inputs[batch]), task.train.targets[batch]).mean().backward()
        optimizer.step()
    trained = [name for name in start if "running" not in name and "tracked" not in name]
    moved = np.concatenate([(model.state_dict()[name] - start[name]).numpy().ravel() for name in trained])
    found = seen(train_run(task, run_of(task, budget=Steps(10), measurements=(ONE,)), CPU))
    assert found[10] == pytest.approx(float(np.linalg.norm(moved)), rel=1e-4)


def test_the_last_look_has_it_even_when_it_is_not_due():
    run = run_of(blob_task(), budget=Steps(17), measurements=(DistanceFromStart(per_decade=1),))
    assert list(seen(train_run(blob_task(), run, CPU))) == [0, 1, 10, 17]


def test_measuring_leaves_training_alone():
    task = blob_task()
    results = [train_run(task, run_of(task, measurements=measured), CPU) for measured in ((), (ONE,))]
    plain, measured = (one.records.filter(one.records["quantity"] != NAME).drop("seconds") for one in results)
    assert plain.equals(measured)
    assert seen(results[1])[20] > 0
