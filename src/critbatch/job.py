"""The main job in one call: `critbatch.run(task)`."""

import contextlib
import dataclasses
import html
import json
import operator
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, SupportsFloat, SupportsIndex, final

import polars as pl

from .advice import recommend
from .analysis.from_log import assemble_log, with_steps
from .budget import Budget
from .budgets.epochs import Epochs
from .budgets.longest import Longest
from .budgets.steps import Steps
from .curve import Fit
from .curves.hyperbola import Hyperbola
from .design import Design, default_batch_sizes
from .engine.population import ENGINES, Engine
from .engine.sequential import take_step
from .executor import Executor
from .executors.serial import Serial
from .finding import Finding, Recommendation, to_json
from .hardware.memory import memory_ceiling
from .hardware.probe import Probe
from .hardware.probe import probe as measure
from .logs import read_log
from .optimizer import Optimizer
from .optimizers.sgd import SGD
from .progress import Bar
from .record import Evidence
from .sampling import Sampling
from .samplings.reshuffle import Reshuffle
from .schedule import Schedule
from .schedules.constant import Constant
from .store import Store
from .stores.sql import Sql
from .study import RULES, SWEEP, Silent, Watcher, Workshop, analyse, carry_out, check_device, task_facts
from .task import Target, Task

EPOCHS, STEPS, SEEDS = 8, 1000, 5


@final
class Result:
    """What a sweep found. `finding` holds everything; `evidence` holds the tables that it was read from."""

    def __init__(self, finding: Finding, evidence: Evidence) -> None:
        self.finding = finding
        self.evidence = evidence

    @property
    def recommendation(self) -> Recommendation | None:
        """Return the batch size and learning rate to use, or None (`finding.recommendation_reason` says why)."""
        return self.finding.recommendation

    @property
    def fit(self) -> Fit | None:
        """Return the curve of steps to target against batch size, with the critical batch size."""
        return self.finding.fit

    def to_frame(self) -> pl.DataFrame:
        """Return one row a run: batch size, learning rate, seed, ending, steps, and what else identifies it."""
        return self.evidence.runs

    def to_json(self) -> dict[str, Any]:
        """Return the document of `result.json`."""
        return to_json(self.finding)

    def report(self, path: str | Path) -> Path:
        """Write the report, one self-contained page, to `path` and return the path."""
        from .report import write  # drawing imports for a second; a result that is only read should not wait for it

        write(json.loads(json.dumps(self.to_json())), Path(path))
        return Path(path)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{row.batch_size}</td><td>{row.best_learning_rate.brief()}</td><td>{row.steps_to_target.brief()}</td>"
            f"<td>{row.examples_to_target.brief()}</td><td>{row.test_metric.brief()}</td></tr>"
            for row in self.finding.batch_sizes
        )
        advice = self.recommendation
        words = (
            f"No recommendation: {self.finding.recommendation_reason}"
            if advice is None
            else f"Recommended: batch size {advice.batch_size.brief()}, learning rate {advice.learning_rate.brief()}"
        )
        names = ("batch size", "best learning rate", "steps to target", "examples to target", "test metric")
        head = "".join(f"<th>{name}</th>" for name in names)
        title = f"<p><b>{html.escape(self.finding.task.name)}</b>: {html.escape(words)}</p>"
        return f"{title}<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def run(  # noqa: PLR0913
    task: Task, *, batch_sizes: Iterable[SupportsIndex] = (), learning_rates: Iterable[SupportsFloat] = (), seeds: int = SEEDS,
    budget: Budget | None = None, target: Target | None = None, optimizer: Optimizer | None = None,
    schedule: Schedule | None = None, sampling: Sampling | None = None, micro_batch_size: int | None = None,
    confirm: bool = True, minima: bool = False, ramps: bool = False, margin: float | None = None,
    dtype: str = "float32", device: str = "cpu", engine: Engine = "auto", executor: Executor | None = None, store: Store | None = None,
    out: str | Path | None = None, progress: bool = True, command: str = "critbatch.run",
) -> Result:  # fmt: skip
    """Sweep batch size x learning rate x seed on `task` and return what was found.

    Everything trained is kept in `out`/runs.db at once: calling again goes on where it was stopped and repeats nothing.

    Args:
        task: What to train.
        batch_sizes: Examples per step; the default is 1, 4, 16, ... and the whole training set.
        learning_rates: The same list for every batch size; the default searches for each.
        seeds: How many, at least 1; at least 2 for intervals, 5 or more for good ones.
        budget: Of every run; the default is the longer of 8 epochs and 1,000 steps, so that both can be read.
        target: Replaces the task's.
        optimizer: The default is `SGD()`.
        schedule: The default is constant: the only one that can be read at every budget.
        sampling: The default is `Reshuffle()`.
        micro_batch_size: Examples per forward pass, for accumulation.
        confirm: Train each batch size's best learning rate on as many fresh seeds, and quote only these.
        minima: Look at the solutions as well: sharpness, width along lines and gradient noise against the batch size.
        ramps: Try batch sizes that change while training goes on, and say whether one would have saved time.
        margin: Within which differences of the test metric count as none, in its unit; the default is one percentage
            point of accuracy (half a point from 10,000 test examples on), 2% of any other metric.
        dtype: "float32" or "float64".
        device: As torch spells it.
        engine: "auto" trains runs together in a compiled step where measurements say that it saves time, "population"
            wherever it can be done, "sequential" never: one run after another in the plain loop. The numbers are the
            same up to rounding.
        executor: The default is `Serial()`; `Processes()` uses every core and needs a task that can be sent there.
        store: The default is SQLite in `out`/runs.db.
        out: Folder for runs.db and result.json; the default is critbatch-results/NAME.
        progress: Show a progress bar.
        command: Goes into the report.

    Raises:
        ValueError: If an argument does not fit the task, with the numbers.
    """
    design = make_design(
        task, batch_sizes=batch_sizes, learning_rates=learning_rates, seeds=seeds, budget=budget, optimizer=optimizer,
        schedule=schedule, sampling=sampling, micro_batch_size=micro_batch_size, confirm=confirm, dtype=dtype,
        minima=minima, ramps=ramps,
    )  # fmt: skip
    design.check(task)
    check_device(device)
    if engine not in ENGINES:
        raise ValueError(f"`critbatch.run(engine={engine!r})`: unknown. Use one of {', '.join(ENGINES)}.")
    folder = Path(out) if out is not None else default_folder(task.name)
    with opened(store, executor, Bar(task_facts(task, target or task.target)) if progress else None, folder) as (
        kept,
        hands,
        bar,
    ):
        shop = Workshop(
            kept, hands, device=device, engine=engine, watcher=bar, command=command, target=target, margin=margin
        )
        result = Result(*carry_out(task, design, shop))
    write_json(result.to_json(), folder / "result.json")
    return result


@contextlib.contextmanager
def opened(
    store: Store | None, executor: Executor | None, bar: Bar | None, folder: Path
) -> Iterator[tuple[Store, Executor, Watcher]]:  # fmt: skip
    """Open what a study needs, and close what was opened: SQLite in `folder`/runs.db, one process, nobody watching by default."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as open_things:
        kept = store or open_things.enter_context(Sql(folder / "runs.db"))
        watcher = Silent() if bar is None else open_things.enter_context(bar)
        yield kept, open_things.enter_context(executor or Serial()), watcher


def make_design(  # noqa: PLR0913
    task: Task, *, batch_sizes: Iterable[SupportsIndex] = (), learning_rates: Iterable[SupportsFloat] = (), seeds: int = SEEDS,
    budget: Budget | None = None, optimizer: Optimizer | None = None, schedule: Schedule | None = None,
    sampling: Sampling | None = None, micro_batch_size: int | None = None, confirm: bool = True, dtype: str = "float32",
    minima: bool = False, ramps: bool = False,
) -> Design:  # fmt: skip
    """Return the design that `run` carries out for these arguments (see there)."""
    return Design(
        batch_sizes=tuple(map(operator.index, batch_sizes)) or default_batch_sizes(len(task.train)),
        seeds=tuple(range(seeds)),
        budget=budget or default_budget(),
        optimizer=optimizer or SGD(),
        schedule=schedule or Constant(),
        sampling=sampling or Reshuffle(),
        learning_rates=tuple(map(float, learning_rates)),
        micro_batch_size=micro_batch_size,
        fresh_seeds=tuple(range(seeds, 2 * seeds)) if confirm else (),
        dtype=dtype,
        minima=minima,
        ramps=ramps,
    )


def reread(place: str, name: str = "") -> Result:
    """Return what a stored study found, read again from its runs; nothing is trained.

    Args:
        place: Path or URL of a store.
        name: Of the study; the default is the latest.

    Raises:
        ValueError: If the store holds no study of that name.
    """
    with Sql(place, read_only=True) as store:
        sweeps = [study for study in store.studies() if study.description.get("kind", SWEEP) == SWEEP]
        studies = {study.name: study for study in reversed(sweeps)}
        latest = sweeps[:1]
        found = studies.get(name) if name else (latest[0] if latest else None)
        if found is None:
            there = ", ".join(sorted(studies)) or "none"
            raise ValueError(f"{place} holds no study {name!r}; there is {there}. Run `critbatch run TASK` first.")
        evidence = store.evidence(found.run_ids)
        return Result(analyse(found, evidence), evidence)


def fit(
    path: str | Path, *, target: float | None = None, direction: str = "above", columns: Mapping[str, str] | None = None,
    train_size: int | None = None, kind: str | None = None, command: str = "critbatch.fit",
) -> Result:  # fmt: skip
    """Return what a log of your own runs says: steps to target against batch size, and what follows from it.

    Args:
        path: A table (CSV, JSON Lines, Parquet), or a folder of TensorBoard, W&B or MLflow runs.
        target: What counts as arrived, for logs of whole curves.
        direction: "above" or "below": where the target's far side is.
        columns: Role to column, where a guess would be wrong: {"batch_size": "train.bs"}.
        train_size: Training examples, for logs that count epochs.
        kind: "runs", "summaries" or "curves"; None to tell by the columns.
        command: Goes into the report.

    Raises:
        ValueError: If the log cannot be read with certainty; the message names rows and columns, and what to do.
    """
    if direction not in ("above", "below"):
        raise ValueError(f"`critbatch.fit(direction={direction!r})`: use 'above' or 'below'.")
    log = with_steps(read_log(path, columns=columns, train_size=train_size, kind=kind), target, direction)
    table = log.summaries if log.runs is None else log.runs
    finding = recommend(assemble_log(log, Path(path).stem, curve=Hyperbola(), rules=RULES, command=command))
    return Result(finding, Evidence(pl.DataFrame() if table is None else table, pl.DataFrame()))


def probe(  # noqa: PLR0913
    task: Task, *, batch_sizes: Iterable[SupportsIndex] = (), optimizer: Optimizer | None = None, repeats: int = 20,
    memory: bool = True, memory_limit: float | None = None, device: str = "cpu", dtype: str = "float32", threads: int = 1,
) -> Probe:  # fmt: skip
    """Measure step time, throughput and memory against the batch size, with the task's own model and the plain loop.

    Args:
        task: What to train.
        batch_sizes: Examples per step; the default is 1, 2, 4, ... until a step takes about a second.
        optimizer: The default is `SGD()`.
        repeats: Timed steps of each batch size.
        memory: Whether to seek the largest batch that memory holds, each trial in a fresh process.
        memory_limit: GiB that training may use; the default is 80% of what is free.
        device: As torch spells it.
        dtype: "float32" or "float64".
        threads: Of torch, on the CPU.

    Raises:
        ValueError: If an argument does not fit the task, with the numbers.
    """
    check_device(device)
    sizes = tuple(map(operator.index, batch_sizes))
    design = make_design(task, batch_sizes=sizes[:1] or (1,), seeds=1, optimizer=optimizer, dtype=dtype)
    chosen = design.optimizer
    run = dataclasses.replace(design, learning_rates=(chosen.first_learning_rate,)).grid(task, {}).runs[0]
    found = measure(task, run, take_step=take_step, batch_sizes=sizes, device=device, threads=threads, repeats=repeats)
    if not memory:
        return found
    limit = None if memory_limit is None else round(memory_limit * 2**30)
    ceiling = memory_ceiling(task, run, take_step=take_step, device=device, memory_limit=limit, threads=threads)
    return dataclasses.replace(found, memory=ceiling)


def default_budget() -> Budget:
    """Return the longer of 8 epochs and 1,000 steps."""
    return Longest((Epochs(EPOCHS), Steps(STEPS)))


def default_folder(name: str) -> Path:
    """Return critbatch-results/NAME with what a file system may not take replaced."""
    return Path("critbatch-results") / (re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "task")


def write_page(result: Result, path: Path) -> Path:
    """Write the report unless `path` shows this very result already (drawing it takes seconds); return the path."""
    drawn = path.with_name("result.json")
    if not path.exists() or not drawn.exists() or drawn.stat().st_mtime_ns > path.stat().st_mtime_ns:
        result.report(path)
    return path


def write_json(document: Mapping[str, Any], path: Path) -> None:
    """Write a result, whole or not at all; a file that says the same already is left as it is."""
    text = json.dumps(document, indent=2, sort_keys=True, allow_nan=False)
    if path.exists() and path.read_text() == text + "\n":
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".json.partial")
    partial.write_text(text + "\n")
    partial.replace(path)
