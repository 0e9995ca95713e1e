"""A plan, an executor and a store become evidence, whatever is killed on the way."""

import math
import os
import random
import select
import sqlite3
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from critbatch.execute import execute
from critbatch.executor import Executor, Lost
from critbatch.executors.serial import Serial
from critbatch.plan import Plan, Run, RunResult
from critbatch.record import Ending
from critbatch.store import Store
from critbatch.stores.memory import Memory
from critbatch.stores.sql import Sql
from critbatch.task import Task

from .coordinator import FORKS, WORKERS, coordinate
from .made_up_runs import exactly, made_up_result, made_up_run, made_up_task, trained

TASKS = {"made up": made_up_task()}
PLAN = Plan(tuple(made_up_run(seed, batch_size=size) for size in (4, 2, 8) for seed in range(3)))


def train_and_note(tasks: Mapping[str, Task], cohort: tuple[Run, ...]) -> list[RunResult]:
    cohorts_seen.append([run.id for run in cohort])
    assert list(tasks) == ["made up"]
    return [trained(run) for run in cohort]


def train_badly(tasks: Mapping[str, Task], cohort: tuple[Run, ...]) -> list[RunResult]:
    if cohort[0].batch_size == 2:
        raise ArithmeticError("the moon is \udc80 wrong")
    if cohort[0].batch_size == 4:
        return [trained(run) for run in cohort[1:]]
    return [trained(run) for run in cohort]


cohorts_seen: list[list[str]] = []


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    cohorts_seen.clear()


class Losing(Executor):
    """Loses what it is given, and notes whether it was closed."""

    workers = 1

    def __init__(self) -> None:
        self.closed = False

    def map(self, function: Any, shared: Any, items: Sequence[Any]) -> Generator[tuple[Any, Any], None, None]:
        try:
            for item in items:
                yield item, Lost("its worker process died 3 times (signal 9; out of memory?)")
        finally:
            self.closed = True


def run_all(store: Store, executor: Executor | None = None, train: Any = train_and_note, **options: Any) -> Any:
    return execute(PLAN, TASKS, store=store, executor=executor or Serial(), train=train, **options)


def test_evidence_holds_every_run_in_the_order_of_the_plan():
    evidence = run_all(Memory())
    assert evidence.runs["run"].to_list() == [run.id for run in PLAN.runs]
    assert evidence.records["run"].unique(maintain_order=True).to_list() == [run.id for run in PLAN.runs]


@pytest.mark.parametrize(
    ("options", "batch_sizes"),
    [
        ({}, [[2], [2], [2], [4], [4], [4], [8], [8], [8]]),
        ({"cohort_size": 2, "cost": lambda run: 10.0**run.batch_size}, [[8], [8], [8], [4, 4], [4], [2, 2], [2]]),
    ],
    ids=[
        "one by one, small batches first",
        "in twos at a cost that is given, unless one is more than a worker's share",
    ],
)
def test_cohorts_share_all_but_learning_rate_and_seed_and_long_ones_start_first(options, batch_sizes):
    run_all(Memory(), **options)
    sizes = {run.id: run.batch_size for run in PLAN.runs}
    assert [[sizes[run] for run in cohort] for cohort in cohorts_seen] == batch_sizes


def test_only_what_the_store_has_not_finished_is_trained():
    store = Memory()
    kept = made_up_result(PLAN.runs[0], Ending.DIVERGED, note="kept")
    store.add([kept, made_up_result(PLAN.runs[1], Ending.FAILED, note="tried again")])
    evidence = run_all(store)
    assert sorted(run for cohort in cohorts_seen for run in cohort) == sorted(run.id for run in PLAN.runs[1:])
    assert evidence.runs["note"].to_list() == ["kept"] + [""] * 8
    cohorts_seen.clear()
    assert exactly(run_all(store).runs) == exactly(evidence.runs)
    assert cohorts_seen == []


def test_an_error_in_training_is_the_ending_of_its_runs_alone():
    runs = run_all(Memory(), train=train_badly, cohort_size=3).runs
    endings = runs.select("batch_size", "ending").unique().sort("batch_size").rows()
    assert endings == [(2, "FAILED"), (4, "FAILED"), (8, "BUDGET")]
    notes = dict(runs.select("batch_size", "note").rows())
    assert "Traceback" in notes[2]
    assert "ArithmeticError: the moon is ? wrong" in notes[2]
    assert "Return every run's result, whatever its ending" in notes[4]


def test_runs_whose_worker_was_lost_have_failed_and_say_why():
    runs = run_all(Memory(), Losing(), cohort_size=2).runs
    assert set(runs["ending"]) == {"FAILED"}
    assert set(runs["note"]) == {"its worker process died 3 times (signal 9; out of memory?)"}


def test_a_result_is_announced_once_the_store_has_it():
    store = Memory()
    seen: list[str] = []

    def on_result(result: RunResult) -> None:
        assert store.finished([result.run.id])
        seen.append(result.run.id)

    run_all(store, on_result=on_result)
    assert sorted(seen) == sorted(run.id for run in PLAN.runs)


def test_an_interruption_stops_the_executor_and_keeps_what_is_there():
    store, executor = Memory(), Losing()

    def interrupt(result: RunResult) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all(store, executor, on_result=interrupt)
    assert executor.closed
    assert len(store.evidence(run.id for run in PLAN.runs).runs) == 1


def test_runs_of_a_task_that_is_not_there_or_has_changed_are_refused():
    for tasks, problem in (
        ({"another": TASKS["made up"]}, "needs task 'made up', but there is only another. Add the task"),
        ({"made up": made_up_task(revision="2")}, "for revision 1 of task 'made up', which is now at revision 2. Plan"),
    ):
        with pytest.raises(ValueError, match=problem):
            execute(PLAN, tasks, store=Memory(), executor=Serial(), train=train_and_note)
    assert cohorts_seen == []


def read_lines(pipe: int, *, most: float, seconds: float) -> tuple[str, bool]:
    """Return what comes out until `most` lines are there, the time is over or the pipe ends, and whether it ended."""
    deadline, text = time.monotonic() + seconds, ""
    while text.count("\n") < most and select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(pipe, 65536).decode()
        if not part:
            return text, True
        text += part
    return text, False


def test_whoever_still_holds_a_pipe_is_noticed():
    reader, writer = os.pipe()
    os.write(writer, b"a\nb\n")
    assert read_lines(reader, most=1, seconds=LONG_ENOUGH) == ("a\nb\n", False)
    assert read_lines(reader, most=math.inf, seconds=0.01) == ("", False)
    os.close(writer)
    assert read_lines(reader, most=math.inf, seconds=LONG_ENOUGH) == ("", True)
    os.close(reader)


def sweep_until(path: Path, plan: Plan, *, most: float, seconds: float) -> Iterator[tuple[str, frozenset[str]]]:
    """Start a coordinator, kill it after so many lines and then so many seconds; yield the word and runs of each line.

    Its workers write to the same pipe: that it ends shows that none is left.
    """
    reader, writer = FORKS.Pipe(duplex=False)
    tasks = {"made up": Task(name="made up", revision="1", model=linear, train=DATA, test=DATA)}
    process = FORKS.Process(target=coordinate, args=(path, plan, tasks, writer))
    process.start()
    writer.close()
    first, _ = read_lines(reader.fileno(), most=most, seconds=LONG_ENOUGH)
    second, _ = read_lines(reader.fileno(), most=math.inf, seconds=seconds)
    process.kill()
    last, nobody_left = read_lines(reader.fileno(), most=math.inf, seconds=LONG_ENOUGH)
    assert nobody_left, "a worker has outlived its coordinator"
    process.join()
    reader.close()
    for line in (first + second + last).splitlines():
        word, *runs = line.split(" ")
        yield word, frozenset(runs)


def linear() -> torch.nn.Module:
    return torch.nn.Linear(2, 2)


DATA = (torch.arange(12.0).reshape(6, 2), torch.tensor([0, 1, 0, 1, 0, 1]))
LONG_ENOUGH = 120.0  # seconds; reached only if something hangs
# Lines to wait for, then seconds: four kills while workers start, six while they work.
MOMENTS = [(0, 0.0), (0, 0.2), (0, 0.6), (0, 1.2), (1, 0.0), (2, 0.0), (3, 0.0), (5, 0.01), (7, 0.02), (9, 0.05)]


def test_a_coordinator_killed_at_any_moment_goes_on_where_it_was(tmp_path):
    path = tmp_path / "runs.db"
    plan = Plan(tuple(made_up_run(seed, batch_size=size) for size in (1, 2, 4, 8) for seed in range(20)))
    moments = random.Random(20).sample(MOMENTS, len(MOMENTS))
    kept: set[str] = set()
    for most, seconds in [*moments, (math.inf, 0.0)]:
        lines = list(sweep_until(path, plan, most=most, seconds=seconds))
        started = [runs for word, runs in lines if word == "start"]
        assert len(set(started)) == len(started), "a cohort was trained twice in one go"
        assert not any(cohort & kept for cohort in started), "a run that the store had was trained again"
        kept = kept.union(*(runs for word, runs in lines if word == "kept"))
        # At a kill there are at most as many under way as there are workers, and as many on their way to the store.
        assert sum(not cohort & kept for cohort in started) <= 2 * WORKERS
    with Sql(path) as store:
        found = store.evidence(run.id for run in plan.runs)
    expected = execute(plan, TASKS, store=Memory(), executor=Serial(), train=train_and_note)
    assert exactly(found.runs.drop("seconds")) == exactly(expected.runs.drop("seconds"))
    assert exactly(found.records.drop("seconds")) == exactly(expected.records.drop("seconds"))
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
