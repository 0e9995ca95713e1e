"""Runs and results that nobody trained, for tests of what keeps them and what passes them on."""

import itertools
import math
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
import torch

from critbatch.budgets.epochs import Epochs
from critbatch.optimizers.sgd import SGD
from critbatch.plan import Run, RunResult
from critbatch.record import Ending, Record, record_table
from critbatch.samplings.without_replacement import WithoutReplacement
from critbatch.schedules.constant import Constant
from critbatch.task import Target, Task

NEVER_USED = itertools.count(1000)


def made_up_task(name: str = "made up", revision: str = "1") -> Task:
    data = torch.arange(12.0).reshape(6, 2), torch.tensor([0, 1, 0, 1, 0, 1])
    return Task(name=name, model=lambda: torch.nn.Linear(2, 2), train=data, test=data, revision=revision)


def made_up_run(
    seed: int = 0, *, learning_rate: float = 0.1, batch_size: int = 8, task: str = "made up", revision: str = "1",
    target: Target | None = None,
) -> Run:  # fmt: skip
    return Run(
        task=task, revision=revision, batch_size=batch_size, learning_rate=learning_rate, seed=seed, optimizer=SGD(),
        schedule=Constant(), sampling=WithoutReplacement(), budget=Epochs(2), micro_batch_size=batch_size,
        target=target,
    )  # fmt: skip


def another_run() -> Run:
    """Return a run that no test of this process has seen."""
    return made_up_run(next(NEVER_USED))


def made_up_result(
    run: Run,
    ending: Ending = Ending.BUDGET,
    *,
    values: Iterable[float] = (),
    seconds: float = 1.5,
    note: str = "",
) -> RunResult:
    rows = [Record(step, 8 * step, 0.1 * step, "test_loss", value) for step, value in enumerate(values)]
    return RunResult(run, ending, 10, 80, seconds, record_table(rows), note)


def broken_result(run: Run) -> RunResult:
    """Return a result whose records are not what they have to be."""
    return RunResult(run, Ending.BUDGET, 10, 80, 1.0, pl.DataFrame({"step": [1]}))


def trained(run: Run) -> RunResult:
    """Return what a training could have left: it depends on the run alone, and holds all that is hard to keep."""
    draw = np.random.default_rng([run.seed, run.batch_size, round(1e6 * run.learning_rate)])
    values = [math.nan, math.inf, *draw.normal(size=20)]
    return made_up_result(run, Ending.DIVERGED if run.seed % 5 == 4 else Ending.BUDGET, values=values)


def say(word: str, runs: Sequence[Run]) -> None:
    """Write one line to standard output, in one piece whatever other processes write."""
    os.write(1, f"{' '.join([word, *(run.id for run in runs)])}\n".encode())


def train_aloud(tasks: Mapping[str, Task], cohort: tuple[Run, ...]) -> list[RunResult]:
    """Say which cohort starts, do some arithmetic, and return what `trained` returns."""
    say("start", cohort)
    matrix = torch.ones(100, 100) / 100
    for _ in range(300):
        matrix = matrix @ matrix
    return [trained(run) for run in cohort]


def exactly(table: pl.DataFrame) -> str:
    """Return a text that tells NaN from null, 0.0 from -0.0 and 1 from 1.0."""
    return repr((table.schema, table.rows()))
