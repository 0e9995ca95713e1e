"""Step times: exact on a clock that is advanced by the model itself, and no trace in training."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.measurement import Snapshot
from critbatch.measurements.step_time import StepTime
from tests.problems import MODELS, blob_task, norm_mlp, run_of

PASS, EXAMPLE = 0.003, 0.0005  # seconds of the made-up clock


class Clock:
    """Counts seconds of the forward passes that were made, every so often with a hiccup."""

    def __init__(self, hiccup: int = 0) -> None:
        self.now, self.passes, self.hiccup = 0.0, 0, hiccup

    def __call__(self) -> float:
        return self.now

    def tick(self, examples: int) -> None:
        self.passes += 1
        slow = 1.0 if self.hiccup and self.passes % self.hiccup == 0 else 0.0
        self.now += PASS + EXAMPLE * examples + slow


class Timed(nn.Module):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.layer = clock, nn.Linear(4, 3)

    def forward(self, inputs):
        self.clock.tick(len(inputs))
        return self.layer(inputs)


def snapshot_of(task, model, *, seed: int = 0) -> Snapshot:
    return Snapshot(
        task=task, model=model.train(), inputs=task.train.inputs, targets=task.train.targets, population=96,
        batch_size=4, learning_rate=0.1, generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(time, "perf_counter", made)
    return made


def test_a_whole_batch_is_one_pass_and_a_looped_one_a_pass_for_each_example(clock):
    found = StepTime(batch_sizes=(1, 8, 200), looped=(1, 8), rounds=5, most_seconds=10.0).measure(
        snapshot_of(blob_task(), Timed(clock))
    )
    for size in (1, 8, 200):  # 200 is more than the training set has
        assert found[f"step_seconds[B={size}]"] == pytest.approx(PASS + EXAMPLE * size, rel=1e-9)
    for size in (1, 8):
        assert found[f"looped_step_seconds[B={size}]"] == pytest.approx((PASS + EXAMPLE) * size, rel=1e-9)


def test_hiccups_do_not_reach_the_median(clock):
    clock.hiccup = 7
    found = StepTime(batch_sizes=(1, 8), looped=(), rounds=15, most_seconds=10.0).measure(
        snapshot_of(blob_task(), Timed(clock))
    )
    assert found["step_seconds[B=8]"] == pytest.approx(PASS + EXAMPLE * 8, rel=1e-9)


def test_sizes_that_take_too_long_have_no_value_and_stop_their_kind_alone(clock):
    found = StepTime(batch_sizes=(1, 64), looped=(1, 8, 16), rounds=3, most_seconds=0.02).measure(
        snapshot_of(blob_task(), Timed(clock))
    )
    assert [np.isnan(one) for one in found.values()] == [False, True, False, True, True]
    assert clock.passes < 60


def test_a_real_step_takes_as_long_as_a_plain_loop_says():
    # a twin on the real clock: the order of magnitude, and that single examples cost far more than one tensor of them
    task = blob_task()
    model, optimizer = task.initialise(0), None
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6)
    times = []
    for _ in range(30):
        started = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(task.train.inputs[:64]), task.train.targets[:64]).backward()
        optimizer.step()
        times.append(time.perf_counter() - started)
    found = StepTime(batch_sizes=(64,), looped=(64,), rounds=15).measure(snapshot_of(task, task.initialise(0)))
    assert 0.2 < found["step_seconds[B=64]"] / np.median(times) < 5  # another process may take the core in between
    assert found["looped_step_seconds[B=64]"] > 5 * found["step_seconds[B=64]"]


def test_batch_norm_has_no_time_for_single_examples():
    task = blob_task(norm_mlp)
    found = StepTime(batch_sizes=(1, 8), looped=(1, 4), rounds=2).measure(snapshot_of(task, task.initialise(0)))
    assert [np.isfinite(one) for one in found.values()] == [False, True, False, False]


@pytest.mark.parametrize("name", MODELS)
def test_measuring_leaves_training_alone(name):
    task = blob_task(MODELS[name])
    ends = [
        train_run(task, run_of(task, budget=Steps(12), measurements=some), torch.device("cpu")).records
        for some in ((), (StepTime(batch_sizes=(2, 8), looped=(2,), rounds=2),))
    ]
    plain, measured = (one.filter(one["quantity"] == "test_loss")["value"].to_list() for one in ends)
    assert plain == measured


@pytest.mark.parametrize("bad", [{"batch_sizes": (0,)}, {"batch_sizes": (8, 4)}, {"rounds": 0}, {"looped": (2, 2)}])
def test_what_cannot_be_timed_is_refused(bad):
    with pytest.raises(ValueError, match="rising order"):
        StepTime(**bad)
