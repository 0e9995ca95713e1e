"""What other processes do in tests of sweeps that are killed. Forked from a process that has imported all this."""

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from critbatch.execute import execute
from critbatch.executors.processes import Processes
from critbatch.plan import Plan, Run
from critbatch.stores.sql import Sql
from critbatch.task import Task

from .made_up_runs import say, train_aloud, trained

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])
WORKERS = 2


def write_groups(path: Path, groups: Sequence[tuple[Run, ...]]) -> None:
    """Add one group after the other."""
    with Sql(path) as store:
        for group in groups:
            store.add([trained(run) for run in group])


def coordinate(path: Path, plan: Plan, tasks: Mapping[str, Task], lines: Connection) -> None:
    """Execute `plan`. Standard output becomes `lines`; workers inherit it, so that its end is theirs."""
    os.dup2(lines.fileno(), 1)
    lines.close()
    with Sql(path) as store:
        execute(
            plan, tasks, store=store, executor=Processes(WORKERS), train=train_aloud, cohort_size=2,
            on_result=lambda result: say("kept", [result.run]),
        )  # fmt: skip
