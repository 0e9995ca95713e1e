"""Plan x executor x store -> evidence."""

import contextlib
import math
import traceback
from collections.abc import Callable, Iterable, Mapping

from .engine.cohorts import cohorts
from .executor import Executor, Lost
from .plan import Plan, Run, RunResult
from .record import Ending, Evidence, record_table
from .store import Store
from .task import Task

SHARES = 6  # cohorts that each worker gets at least, in cost, so that none waits long for the last one
Train = Callable[[Mapping[str, Task], tuple[Run, ...]], list[RunResult]]


def inverse_batch_size(run: Run) -> float:
    """Return the relative cost of a run when an epoch costs by its steps."""
    return 1 / run.batch_size


def ignore(result: RunResult) -> None:
    """Do nothing with `result`."""


def execute(  # noqa: PLR0913
    plan: Plan,
    tasks: Mapping[str, Task],
    *,
    store: Store,
    executor: Executor,
    train: Train,
    cohort_size: int = 1,
    cost: Callable[[Run], float] = inverse_batch_size,
    cohort_costs: tuple[float, float] = (0.0, math.inf),
    on_result: Callable[[RunResult], None] = ignore,
) -> Evidence:
    """Return the evidence of all runs of `plan`, training those that `store` has not finished.

    Each cohort goes into the store whole as soon as it is trained. So a sweep that was stopped in any way goes on by
    calling this again; at most the cohorts under way at the stop are trained twice. Runs that FAILED are tried again.

    Args:
        plan: What is wanted.
        tasks: By name; only those that are needed are sent to the executor.
        store: Where finished runs are looked up and results are kept.
        executor: Where cohorts are trained.
        train: Trains a cohort. A module-level function. What it raises makes the cohort's runs FAILED.
        cohort_size: The largest number of runs that train together; fewer where the workers would finish unevenly.
        cost: What a run is expected to take, in any unit: long ones start first.
        cohort_costs: What a cohort costs, about: not divided below the first, where each worker would prepare the same
            anew; not more than the second, which is what is lost at most when everything is stopped.
        on_result: Called with each new result once the store has it.

    Raises:
        ValueError: If a run's task is not among `tasks`, or only in another revision.
    """
    run_ids = [run.id for run in plan.runs]
    finished = store.finished(run_ids)
    wanting = [run for run in plan.runs if run.id not in finished]
    check_tasks(tasks, wanting)
    needed = {run.task: tasks[run.task] for run in wanting}
    least, most = cohort_costs
    dearest = min(max(sum(map(cost, wanting)) / (executor.workers * SHARES), least), most)
    groups = cohorts(wanting, cohort_size, cost, dearest=dearest)
    with contextlib.closing(executor.map(attempt, (needed, train), groups)) as outcomes:
        for cohort, outcome in outcomes:
            results = failed(cohort, outcome.reason) if isinstance(outcome, Lost) else outcome
            store.add(results)
            for result in results:
                on_result(result)
    return store.evidence(run_ids)


def check_tasks(tasks: Mapping[str, Task], runs: Iterable[Run]) -> None:
    """Do nothing if every run's task is there in the run's revision.

    Raises:
        ValueError: If it is not.
    """
    for run in runs:
        if run.task not in tasks:
            raise ValueError(
                f"`execute(tasks=...)`: run {run.id} needs task {run.task!r}, but there is only "
                f"{', '.join(sorted(tasks)) or 'none'}. Add the task."
            )
        if run.revision != tasks[run.task].revision:
            raise ValueError(
                f"`execute(tasks=...)`: run {run.id} was planned for revision {run.revision} of task {run.task!r}, "
                f"which is now at revision {tasks[run.task].revision}. Plan again with the task as it is."
            )


def attempt(shared: tuple[Mapping[str, Task], Train], cohort: tuple[Run, ...]) -> list[RunResult]:
    """Train a cohort; an error becomes each run's ending instead of stopping the plan."""
    tasks, train = shared
    try:
        check_tasks(tasks, cohort)  # again: another process may have made another revision from its source
        return in_order(train(tasks, cohort), cohort)
    except Exception:  # noqa: BLE001  the traceback is kept as evidence
        return failed(cohort, traceback.format_exc())


def in_order(results: list[RunResult], cohort: tuple[Run, ...]) -> list[RunResult]:
    """Return the results in the order of `cohort`.

    Raises:
        ValueError: If they are not one for each run.
    """
    found = {result.run.id: result for result in results}
    if len(results) != len(cohort) or set(found) != {run.id for run in cohort}:
        raise ValueError(
            f"`Train`: returned results for the runs {sorted(found)}, {len(results)} in all, instead of one for each "
            f"of {sorted(run.id for run in cohort)}. Return every run's result, whatever its ending."
        )
    return [found[run.id] for run in cohort]


def failed(cohort: tuple[Run, ...], note: str) -> list[RunResult]:
    """Return a FAILED result for each run of `cohort`; `note` says why."""
    text = note.encode(errors="replace").decode()  # a traceback may quote bytes that no table can hold
    return [RunResult(run, Ending.FAILED, 0, 0, 0.0, record_table([]), text) for run in cohort]
