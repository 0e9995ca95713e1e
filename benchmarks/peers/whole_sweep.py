"""A whole sweep as people drive it: processes, joblib or Optuna, each around a plain loop.

Usage: `python -m benchmarks.peers.whole_sweep FOLDER DRIVER LOOP WORKERS`; prints one JSON document.
"""

import functools
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .plain_training import Run, train

CHUNK = 4
Train = Callable[[Run], dict[str, Any]]
Rows = list[dict[str, Any]]


def processes(one: Train, runs: list[Run], workers: int) -> Rows:
    """Return the results of all runs from a pool of processes, the longest runs first."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return list(pool.imap_unordered(one, runs, chunksize=CHUNK))


def with_joblib(one: Train, runs: list[Run], workers: int) -> Rows:
    """Return the results of all runs from `joblib.Parallel`, the longest runs first."""
    import joblib

    return joblib.Parallel(n_jobs=workers)(joblib.delayed(one)(run) for run in runs)


def with_optuna(one: Train, runs: list[Run], workers: int) -> Rows:
    """Return the results of all runs from Optuna's grid sampler: processes that share one journal.

    Every batch size has learning rates of its own, so the grid is over the number of the run in the plan.
    """
    with tempfile.TemporaryDirectory() as folder:
        journal = str(Path(folder) / "journal.log")
        _study(journal, len(runs), 0)
        started = [
            multiprocessing.get_context("spawn").Process(target=_optimize, args=(journal, one, runs, seed))
            for seed in range(workers)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join()
        trials = _study(journal, len(runs), 0).trials
    return [trial.user_attrs["row"] for trial in trials if "row" in trial.user_attrs]


def _optimize(journal: str, one: Train, runs: list[Run], seed: int) -> None:
    def objective(trial: Any) -> float:
        row = one(runs[trial.suggest_categorical("run", list(range(len(runs))))])
        trial.set_user_attr("row", row)
        return row["accuracy"]

    _study(journal, len(runs), seed).optimize(objective)


def _study(journal: str, runs: int, seed: int) -> Any:
    import optuna  # pyrefly: ignore[missing-import]
    from optuna.storages.journal import JournalFileBackend  # pyrefly: ignore[missing-import]

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = optuna.storages.JournalStorage(JournalFileBackend(journal))
    sampler = optuna.samplers.GridSampler({"run": list(range(runs))}, seed=seed)
    return optuna.create_study(
        storage=storage, study_name="sweep", sampler=sampler, direction="maximize", load_if_exists=True
    )


DRIVERS: dict[str, Callable[[Train, list[Run], int], Rows]] = {
    "processes": processes,
    "joblib": with_joblib,
    "optuna": with_optuna,
}


def main() -> None:
    """Train the runs of FOLDER/plan.json and print the wall time with a row for each run."""
    folder, driver, loop, workers = sys.argv[1:]
    runs = json.loads((Path(folder) / "plan.json").read_text("utf-8"))
    runs.sort(key=lambda run: run["cost"], reverse=True)
    started = time.perf_counter()
    rows = DRIVERS[driver](functools.partial(train, folder, loop), runs, int(workers))
    sys.stdout.write(json.dumps({"seconds": time.perf_counter() - started, "rows": rows}) + "\n")


if __name__ == "__main__":
    main()
