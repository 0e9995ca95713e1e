"""The population engine has the plain loop's numbers, whoever trains together and however a replica ends."""

import dataclasses
import functools
import gc

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from critbatch.budgets.epochs import Epochs
from critbatch.budgets.examples import Examples
from critbatch.budgets.steps import Steps
from critbatch.data import Stream
from critbatch.engine import population, sequential
from critbatch.execute import execute
from critbatch.executors.serial import Serial
from critbatch.measurements.noise_moments import NoiseMoments
from critbatch.objective import Metric
from critbatch.plan import Plan, Run, RunResult
from critbatch.record import Ending, Evidence
from critbatch.sampling import LastBatch
from critbatch.samplings.partition import Partition
from critbatch.samplings.reshuffle import Reshuffle
from critbatch.samplings.with_replacement import WithReplacement
from critbatch.samplings.without_replacement import WithoutReplacement
from critbatch.schedules.cosine import Cosine
from critbatch.schedules.linear import Linear
from critbatch.stores.memory import Memory
from critbatch.task import Target, Task
from tests.problems import MODELS, blob_task, blobs, regression_task, run_of, zoo_task

from .by_hand import RULES, assert_alike, distance, numbers


def huber(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    wanted = torch.eye(3, dtype=outputs.dtype)[targets]
    return nn.functional.huber_loss(outputs, wanted, reduction="none").sum(1)


def yes_or_no(**more) -> Task:
    sets = {name: (inputs, (labels > 0).float()) for name, (inputs, labels) in
            (("train", blobs(50, 0)), ("test", blobs(30, 1)))}  # fmt: skip
    return Task(
        name="yes or no", model=lambda: nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 1)),
        loss="binary_cross_entropy", metric="binary_accuracy", **sets, **more,
    )  # fmt: skip


def fresh_blobs() -> Task:
    def draw(generator: torch.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = torch.randn(count, 4, generator=generator)
        return inputs, inputs[:, :3].argmax(1)

    return Task(name="fresh", model=MODELS["mlp"], train=Stream(draw, 20), test=blobs(30, 1), metric=None)


# Each way of training once: (task, fields of the run by which it differs from 100 steps of SGD on reshuffled batches of 8)
MIXED = "momentum, dropout, a smaller last batch, cosine"
SINGLE = {"dtype": "float32", "budget": Steps(60)}
WEIGHT, DROP = LastBatch.WEIGHT, LastBatch.DROP
CASES = {
    "sgd": (lambda: blob_task(), {}),
    MIXED: (
        lambda: blob_task(MODELS["dropout"]),
        {"rule": "momentum", "batch_size": 36, "sampling": Reshuffle(WEIGHT), "schedule": Cosine(), "budget": Epochs(33)},
    ),
    "nesterov, batch norm, with replacement, warmup, measured": (
        lambda: blob_task(MODELS["batch_norm"]),
        {
            "rule": "nesterov", "batch_size": 7, "sampling": WithReplacement(), "schedule": Linear(0.1, 0.25),
            "measurements": (NoiseMoments(examples=32),),
        },
    ),
    "clipped, squared error, without replacement, one example": (
        lambda: regression_task(), {"rule": "clipped", "batch_size": 1, "sampling": WithoutReplacement()},
    ),
    "adam, binary cross-entropy, penalty, partition without the last batch": (
        lambda: yes_or_no(l2=0.1), {"rule": "adam, decay", "batch_size": 12, "sampling": Partition(DROP)},
    ),
    "adamw, a loss of the user's own, the whole set": (
        lambda: blob_task(loss=huber, metric=Metric("error", huber, "below"), target=None),
        {"rule": "adamw", "batch_size": 96, "budget": Examples(9600), "schedule": Cosine(0.1)},
    ),
    "tokens, a budget that ends inside an epoch": (
        lambda: zoo_task("transformer"), {"rule": "momentum", "batch_size": 2, "budget": Steps(30)},
    ),
    "a stream": (fresh_blobs, {"rule": "momentum", "sampling": Reshuffle(WEIGHT)}),
}  # fmt: skip


def runs_of(task: Task, rule: str = "sgd", **changes) -> tuple[Run, ...]:
    """Return two runs with one seed and one with another."""
    rate, optimizer = RULES[rule].rate, RULES[rule].ours
    fields = {"optimizer": optimizer, "budget": Steps(100), "dtype": "float64"} | changes
    pairs = ((rate, 0), (rate / 3, 0), (rate, 7))
    return tuple(run_of(task, learning_rate=one, seed=seed, **fields) for one, seed in pairs)


def compiled(task: Task, runs: tuple[Run, ...]) -> list[RunResult]:
    """Return what the population engine finds, and fail if it has left a run to the plain loop."""
    found = population.train({task.name: task}, runs, engine="population")
    assert [one.note for one in found] == [""] * len(runs)
    return found


def plain(task: Task, runs: tuple[Run, ...]) -> list[RunResult]:
    return sequential.train({task.name: task}, runs)


@pytest.mark.parametrize("case", CASES)
def test_double_precision_differs_from_the_plain_loop_by_rounding_alone(case):
    make, changes = CASES[case]
    task = make()
    runs = runs_of(task, **changes)
    assert_alike(compiled(task, runs), plain(task, runs), 1e-10)


def up_to(step: int, results: list[RunResult]) -> list[RunResult]:
    """Return the results without the records of later steps."""
    return [dataclasses.replace(one, records=one.records.filter(pl.col("step") <= step)) for one in results]


@pytest.mark.parametrize("model", MODELS)
def test_single_precision_differs_little_from_the_plain_loop(model):
    task = blob_task(MODELS[model])
    runs = runs_of(task, **SINGLE)
    assert_alike(up_to(10, compiled(task, runs)), up_to(10, plain(task, runs)), 1e-6)


def test_dropout_masks_are_those_of_the_plain_loop():
    make, changes = CASES[MIXED]
    task = make()
    runs = runs_of(task, **changes)
    found, expected = compiled(task, runs), plain(task, runs)
    assert_alike(found, expected, 1e-12)
    other = plain(task, tuple(dataclasses.replace(run, seed=run.seed + 1) for run in runs))
    assert distance(found[0].records["value"], other[0].records["value"]) > 0.01


def test_engines_that_differ_are_told_apart():
    task = blob_task()
    runs = runs_of(task)
    found = compiled(task, runs)
    nearly = tuple(dataclasses.replace(run, learning_rate=run.learning_rate * (1 + 1e-6)) for run in runs)
    expected = [dataclasses.replace(one, run=run) for one, run in zip(plain(task, nearly), runs, strict=True)]
    with pytest.raises(AssertionError):
        assert_alike(found, expected, 1e-10)


@pytest.mark.parametrize("model", ["dropout", "batch_norm"])
def test_a_run_has_the_same_numbers_alone_among_seven_and_beside_one_that_diverges(model):
    task = blob_task(MODELS[model])
    made = {(seed, rate): run_of(task, seed=seed, learning_rate=rate, **SINGLE)
            for seed in (1, 2) for rate in (0.125, 0.5, 0.01, 1e38)}  # fmt: skip
    run, *others, wild = made.values()
    alone = numbers(compiled(task, (run,)))
    together = compiled(task, (*others[:3], run, *others[3:]))
    beside = compiled(task, (wild, run))
    assert numbers(together[3:4]) == alone
    assert numbers(beside[1:]) == alone
    assert beside[0].ending is Ending.DIVERGED
    assert len({one.records["value"][-4] for one in together}) == 7
    assert numbers(compiled(task, (run, *others)))[1:] == [*numbers(together[:3]), *numbers(together[4:])]


def test_replicas_end_where_the_plain_loop_ends_them_and_leave_the_others_alone():
    task = regression_task()
    target = Target("test_squared_error", 0.01, "below")
    rates = (1e-4, 0.03, 0.2, 3.0, 30.0)  # too small for the target, two that reach it, two that diverge
    runs = tuple(run_of(task, learning_rate=rate, target=target, budget=Steps(400), dtype="float64") for rate in rates)
    found, expected = compiled(task, runs), plain(task, runs)
    assert_alike(found, expected, 1e-10)
    endings = [one.ending for one in found]
    assert endings == [Ending.BUDGET, Ending.TARGET, Ending.TARGET, Ending.DIVERGED, Ending.DIVERGED]
    assert len({one.steps for one in found}) == 5
    for at, run in enumerate(runs):
        assert numbers(compiled(task, (run,))) == numbers(found[at : at + 1])


def test_a_target_that_holds_before_the_first_step_ends_nothing_there():
    task = blob_task(target=None)
    runs = runs_of(task)
    runs = tuple(dataclasses.replace(run, target=Target("test_loss", 1e6, "below")) for run in runs)
    found = compiled(task, runs)
    assert all(one.ending is Ending.TARGET and one.steps > 0 for one in found)
    assert_alike(found, plain(task, runs), 1e-10)


def test_measuring_leaves_training_alone():
    task = blob_task(MODELS["dropout"])
    runs = runs_of(task, **SINGLE)
    measured = tuple(dataclasses.replace(run, measurements=(NoiseMoments(examples=32),)) for run in runs)
    losses = [
        [one.records.filter(pl.col("quantity") == "test_loss")["value"].to_list() for one in compiled(task, some)]
        for some in (runs, measured)
    ]
    assert losses[0] == losses[1]


def test_seconds_of_a_run_grow_with_its_steps_alone():
    task = blob_task()
    for one in compiled(task, runs_of(task)):
        assert one.seconds > 0
        np.testing.assert_allclose(one.records["seconds"], one.records["step"] * (one.seconds / one.steps), rtol=1e-12)


def test_a_sweep_that_changed_engines_half_way_has_the_table_of_either():
    make, changes = CASES[MIXED]
    task = make()
    runs = runs_of(task, **changes)
    engines = {"sequential": sequential.train, "population": functools.partial(population.train, engine="population")}

    def swept(store: Memory, runs: tuple[Run, ...], engine: str) -> Evidence:
        return execute(
            Plan(runs), {task.name: task}, store=store, executor=Serial(), train=engines[engine], cohort_size=2
        )  # fmt: skip

    store = Memory()
    swept(store, runs[1:2], "sequential")
    mixed = swept(store, runs, "population")
    for engine in engines:
        other = swept(Memory(), runs, engine)
        assert mixed.runs.drop("seconds").equals(other.runs.drop("seconds"))
        assert mixed.records.drop("seconds", "value").equals(other.records.drop("seconds", "value"))
        assert distance(mixed.records["value"], other.records["value"]) <= 1e-10


def tensors_alive() -> int:
    gc.collect()
    return sum(type(one) is torch.Tensor for one in gc.get_objects())


@pytest.mark.parametrize("model", ["mlp", "batch_norm"])
def test_what_is_kept_in_memory_does_not_grow_with_the_cohorts_that_were_trained(model):
    task = blob_task(MODELS[model])
    runs = runs_of(task, **SINGLE)
    compiled(task, runs)
    before = tensors_alive()
    for _ in range(3):
        compiled(task, runs)
    assert tensors_alive() == before


@pytest.mark.parametrize("engine", population.ENGINES)
def test_training_leaves_the_global_random_state_alone(engine):
    task = blob_task(MODELS["dropout"])
    before = torch.get_rng_state()
    population.train({task.name: task}, runs_of(task, **SINGLE), engine=engine)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("steps", [6, 40])
def test_a_smaller_batch_that_comes_at_another_time_for_each_seed(steps):
    task = blob_task()
    runs = runs_of(task, batch_size=36, sampling=Partition(WEIGHT), budget=Steps(steps))
    found = population.train({task.name: task}, runs, engine="population")
    assert all("Error" not in one.note for one in found)
    assert_alike(found, plain(task, runs), 1e-10)


def test_data_in_any_memory_order_are_trained_on():
    inputs, labels = blobs(96, 0)
    crossed = inputs.T.contiguous().T, torch.stack([labels, labels], 1)[:, 0]
    task = Task(name="crossed", model=MODELS["mlp"], train=crossed, test=crossed)
    assert not task.train.inputs.is_contiguous()
    runs = runs_of(task)
    assert_alike(compiled(task, runs), plain(task, runs), 1e-10)
