"""Memory against batch size; trials in processes of their own."""

import dataclasses
import json
import multiprocessing
import os
import signal

import pytest
import torch
from torch import nn

from critbatch.engine.sequential import take_step
from critbatch.finding import to_json
from critbatch.hardware.memory import Memory, find_ceiling, memory_ceiling, memory_line
from critbatch.hardware.trial import Trial, Work, attempt, device_limit, pack
from critbatch.optimizers.adam import Adam
from critbatch.task import Task

from .problems import blob_task, blobs, run_of, small_mlp

WIDTH = 2**18  # of floats: 1 MiB
HUNGRY_LIMIT = 110 * 2**20


def trial_up_to(ceiling: int, *, each: int = 100, fixed: int = 1000, ended="memory"):
    tried: list[int] = []

    def trial(size: int) -> Trial:
        tried.append(size)
        if size <= ceiling:
            return Trial(size, fixed + each * size, "fits", None)
        return Trial(size, None, ended, "planted")

    return trial, tried


@pytest.mark.parametrize("first", [1, 3, 32, 100])
def test_bisection_agrees_with_trying_every_size(first):
    for ceiling in (1, 2, 3, 31, 32, 33, 50, 63, 64, 65, 98, 99):
        trial, tried = trial_up_to(ceiling)
        naive = max(size for size in range(1, 101) if trial(size).ended == "fits")
        tried.clear()
        found, trials = find_ceiling(trial, first=first, largest=100)
        assert (found.value, found.low, found.high) == (naive, naive, naive)
        assert [one.batch_size for one in trials] == tried
        assert len(tried) == len(set(tried)) <= 15


def test_bisection_stops_at_the_precision_asked_for():
    found, trials = find_ceiling(trial_up_to(777)[0], first=1, largest=5000, precision=0.1)
    assert found.low == found.value <= 777 <= found.high
    assert found.high - found.low < 0.1 * found.value
    assert len(trials) < len(find_ceiling(trial_up_to(777)[0], first=1, largest=5000)[1])


@pytest.mark.parametrize(
    ("ceiling", "ended", "low", "words"),
    [
        (100, "memory", 100, "all 100 training examples fits"),
        (0, "memory", None, "not even batch size 1 fits: planted"),
        (40, "time", 32, "batch size 64 could not be tried: planted"),
        (40, "error", 32, "batch size 64 could not be tried: planted"),
    ],
)
def test_where_there_is_no_ceiling_the_reason_says_why(ceiling, ended, low, words):
    trial, tried = trial_up_to(ceiling, ended=ended)
    found, _ = find_ceiling(trial, first=4, largest=100)
    assert (found.value, found.low) == (None, low)
    assert words in found.reason
    assert len(tried) <= 6


def test_two_sizes_predict_the_memory_of_a_third():
    trial, _ = trial_up_to(70)
    found, trials = find_ceiling(trial, first=1, largest=100)
    line = memory_line(trials, 1000 + 100 * 85)
    assert found.value == 70
    assert (line.m0.value, line.m1.value, line.predicted_ceiling.value) == (1000, 100, 85)
    assert (line.verified_at, line.error) == (70, 0)
    off = [dataclasses.replace(one, peak_bytes=16_000) if one.batch_size == 70 else one for one in trials]
    assert memory_line(off, 10_000).error == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("peaks", "reason"),
    [
        ({1: 10, 2: 20}, "need 3 batch sizes that fit, got 2"),
        ({1: 10, 2: 10, 4: 10}, "does not grow from batch size 1 to 2"),
        ({1: 10, 2: 100, 4: 190}, "starts below 0"),
    ],
)
def test_memory_that_is_no_line_gives_a_reason(peaks, reason):
    line = memory_line([Trial(size, peak, "fits", None) for size, peak in peaks.items()], 1000)
    assert reason in line.m1.reason
    assert (line.m0.value, line.predicted_ceiling.value, line.error) == (None, None, None)


class Hungry(nn.Module):
    """Holds at most four tensors of 1 MiB for each example at once, while it goes back; and 5 MiB of parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.spread, self.scale = nn.Linear(4, WIDTH, bias=False), nn.Parameter(torch.ones(WIDTH))

    def forward(self, inputs):
        return (self.spread(inputs).tanh() * self.scale).unflatten(1, (-1, 2**16)).mean(2)


def hungry_task() -> Task:
    """Return a task whose ceiling is known: 512 examples, four outputs."""
    return Task(name="hungry", model=Hungry, train=blobs(512, 0), test=blobs(8, 1))


def test_a_batch_that_passes_the_limit_is_the_ceiling():
    """Planted: 4 MiB an example and 20 MiB besides, so that 16 examples fit into 110 MiB, and 32 do not."""
    task = hungry_task()
    found = memory_ceiling(
        task, run_of(task, optimizer=Adam()), take_step=take_step, memory_limit=HUNGRY_LIMIT, precision=3.0
    )
    assert isinstance(found, Memory)
    assert (found.trials[0].batch_size, found.trials[0].ended) == (16, "fits")
    # parameters, gradient and two slots of Adam; the grain of resident memory is below 2 MiB
    assert abs(found.trials[0].peak_bytes - (16 * 4 + 4 * 5) * 2**20) < 2 * 2**20
    assert [one.ended for one in found.trials] == ["fits", "memory"]
    assert "above the limit of 115,343,360" in found.trials[1].reason
    assert (found.ceiling.value, found.ceiling.high) == (16, 31)
    assert json.loads(json.dumps(to_json(found)))["ceiling"]["unit"] == "examples"
    assert multiprocessing.active_children() == []


def test_a_trial_far_beyond_the_limit_is_refused_its_memory():
    """256 examples want over 1 GiB; the fence lies at 110 + 256 MiB."""
    task = hungry_task()
    found = attempt(Work(pack(task, run_of(task), take_step), "cpu", 1, HUNGRY_LIMIT, 120.0), 256)
    assert (found.ended, found.peak_bytes) == ("memory", None)
    assert "micro-batches of" in found.reason


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly:
    """A step that kills the process which is to take it."""

    def __call__(self, *arguments) -> tuple[float, int]:
        raise AssertionError("the process should be dead by now")

    def __reduce__(self):
        return kill_self, ()


def test_a_process_that_is_killed_does_not_fit_and_says_so():
    task = blob_task()
    found = attempt(Work(pack(task, run_of(task), Deadly()), "cpu", 1, None, 120.0), 4)
    assert (found.ended, found.reason) == (
        "memory",
        "the process was killed by signal 9: the system was out of memory?",
    )


def test_a_trial_that_takes_too_long_is_stopped():
    task = blob_task()
    found = attempt(Work(pack(task, run_of(task), take_step), "cpu", 1, None, 0.01), 4)
    assert (found.ended, found.reason) == ("time", "two steps took more than 0.01 s")
    assert multiprocessing.active_children() == []


def test_what_cannot_be_sent_is_said_before_any_trial():
    task = blob_task(lambda: small_mlp())
    with pytest.raises(ValueError, match="cannot be sent to a fresh process"):
        memory_ceiling(task, run_of(task), take_step=take_step)
    with pytest.raises(ValueError, match="memory_limit=0"):
        memory_ceiling(task, run_of(task), take_step=take_step, memory_limit=0)


def test_the_limit_of_the_processor_is_part_of_what_is_free():
    assert 2**20 < device_limit("cpu") < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with pytest.raises(ValueError, match="cpu and cuda devices only"):
        device_limit("meta")
