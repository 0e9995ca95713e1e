"""Run ids and sweeps."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from critbatch.budgets.epochs import Epochs
from critbatch.measurements.noise_moments import NoiseMoments
from critbatch.optimizers.sgd import SGD
from critbatch.plan import Plan, describe, sweep
from critbatch.sampling import LastBatch
from critbatch.samplings.reshuffle import Reshuffle
from critbatch.schedules.constant import Constant
from critbatch.schedules.cosine import Cosine
from critbatch.task import Target
from tests.problems import blob_task, run_of

TASK = blob_task()
BASE = run_of(TASK)
CHANGES = {
    "task": "other", "revision": "x", "batch_size": 9, "learning_rate": 0.25, "seed": 1, "optimizer": SGD(momentum=0.5),
    "schedule": Cosine(), "sampling": Reshuffle(LastBatch.WEIGHT), "budget": Epochs(2), "micro_batch_size": 4,
    "target": Target("test_loss", 1.0, "below"), "measurements": (NoiseMoments(),), "dtype": "float64",
}  # fmt: skip


def grid(**changes) -> Plan:
    facts = {
        "batch_sizes": [8, 1], "learning_rates": [0.5, 0.25], "seeds": range(2), "optimizer": SGD(),
        "schedule": Constant(), "sampling": Reshuffle(), "budget": Epochs(1),
    } | changes  # fmt: skip
    return sweep(TASK, **facts)


def test_every_field_is_part_of_the_id():
    assert set(CHANGES) == {field.name for field in dataclasses.fields(BASE)}
    ids = {dataclasses.replace(BASE, **{name: value}).id for name, value in CHANGES.items()}
    assert len(ids | {BASE.id}) == len(CHANGES) + 1


@given(st.integers(1, 10**6))
def test_equal_numbers_have_equal_ids(number):
    assert run_of(TASK, budget=Epochs(number)).id == run_of(TASK, budget=Epochs(float(number))).id


def test_an_id_is_the_same_in_every_process_and_version():
    fixed = dataclasses.replace(BASE, revision="r")
    assert fixed.id == "574dd863fefbd4ff"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_describing_keeps_every_number(number):
    assert describe(number) == number


def test_what_cannot_be_hashed_the_same_way_twice_is_refused():
    with pytest.raises(TypeError, match="cannot hold a object"):
        describe(object())


def test_a_sweep_is_the_whole_grid_without_repetition():
    plan = grid()
    assert len(plan) == 8
    assert len(plan + plan) == 8
    assert {(run.batch_size, run.learning_rate, run.seed) for run in plan.runs} == {
        (size, rate, seed) for size in (1, 8) for rate in (0.25, 0.5) for seed in (0, 1)
    }


def test_learning_rates_may_differ_by_batch_size():
    plan = grid(learning_rates={1: [0.1], 8: [0.2, 0.3]})
    assert len(plan) == 6
    assert grid(learning_rates=lambda size: [size / 10]).runs[0].learning_rate == 0.1


def test_micro_batches_never_exceed_the_batch():
    assert {(run.batch_size, run.micro_batch_size) for run in grid(micro_batch_size=4).runs} == {(1, 1), (8, 4)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_sizes": []}, "needs a batch size and a seed"),
        ({"seeds": []}, "needs a batch size and a seed"),
        ({"learning_rates": []}, "no learning rate given"),
        ({"batch_sizes": [97]}, r"batch size 97 does not fit the 96 training examples of task 'blobs'. Use 1 to 96"),
        ({"batch_sizes": [0]}, "batch size 0 does not fit"),
        ({"learning_rates": [0.0]}, r"`Run\(learning_rate=0.0\)`: must be above 0"),
        ({"learning_rates": [float("nan")]}, "must be above 0 and finite"),
        ({"micro_batch_size": 0}, "must be at least 1, or None"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        grid(**changes)
