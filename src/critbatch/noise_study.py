"""The gradient noise scale along a training in one call: `critbatch.measure_noise(task)`."""

import math
import operator
from collections.abc import Mapping
from pathlib import Path
from typing import SupportsFloat, SupportsIndex

import polars as pl

from .analysis.choice import Choice
from .analysis.noise_over_training import (
    NoiseAverage,
    NoiseFinding,
    NoiseLook,
    noise_average,
    noise_looks,
    seed_moments,
    suggestion,
)
from .budget import Budget
from .design import Design
from .engine.population import ENGINES, Engine
from .estimate import short
from .executor import Executor
from .finding import TaskFacts
from .job import default_folder, make_design, opened, write_json
from .measurements.noise_moments import NoiseMoments
from .noise import has_batch_norm
from .optimizer import Optimizer
from .optimizers.sgd import SGD
from .plan import describe
from .progress import Bar
from .record import Ending, Evidence
from .store import Store
from .study import (
    Progress,
    Workshop,
    bracketed,
    check_device,
    describe_device,
    same_device,
    task_facts,
    versions,
)
from .task import Task

SEEDS, MEASURED, LOOKS = 3, 1024, 6
KIND = "noise"
GIVEN = "given"
CAUTION = (
    "The noise scale is a screening dial, not the critical batch size: it takes curvature to be the same in all "
    "directions and the learning rate to follow. Merrill et al. (2025, arXiv:2505.23971) found it below the directly "
    "measured one by orders of magnitude. That one comes from `critbatch run TASK`."
)


def measure_noise(  # noqa: PLR0913
    task: Task, *, batch_size: SupportsIndex | None = None, learning_rate: SupportsFloat | None = None,
    seeds: int = SEEDS, budget: Budget | None = None, optimizer: Optimizer | None = None,
    measured_examples: int = MEASURED, looks_per_decade: int = LOOKS, dtype: str = "float32", device: str = "cpu",
    engine: Engine = "auto", executor: Executor | None = None, store: Store | None = None,
    out: str | Path | None = None, progress: bool = True, command: str = "critbatch.measure_noise",
) -> NoiseFinding:  # fmt: skip
    """Train `task` at one batch size and learning rate and return its gradient noise scale along the way.

    The simple noise scale is tr(Sigma)/|G|^2 in examples (McCandlish et al. 2018, arXiv:1812.06162). Intervals are
    Fieller's over seeds, each a training of its own. Everything trained is kept in `out`/runs.db at once: calling
    again goes on where it was stopped and repeats nothing.

    Args:
        task: What to train.
        batch_size: Examples per step; the default is the power of two nearest to the square root of the training set.
        learning_rate: The default is searched for as `run` begins its search: six a factor of four apart with one
            seed, extended until the best lies inside, by steps to target, else by the metric at the end.
        seeds: How many, at least 2.
        budget: Of every run; the default is the longer of 8 epochs and 1,000 steps.
        optimizer: The default is `SGD()`.
        measured_examples: Training examples behind each measurement, at least 2; more than there are means all.
        looks_per_decade: Measurements per factor of ten in steps.
        dtype: "float32" or "float64".
        device: As torch spells it.
        engine: As in `run`.
        executor: The default is `Serial()`.
        store: The default is SQLite in `out`/runs.db.
        out: Folder for runs.db and noise.json; the default is critbatch-results/NAME.
        progress: Show a progress bar.
        command: Goes into the result.

    Raises:
        ValueError: If an argument does not fit the task, with the numbers.
    """
    size = default_batch_size(len(task.train)) if batch_size is None else operator.index(batch_size)
    measurement = NoiseMoments(examples=measured_examples, per_decade=looks_per_decade)
    _check(task, measurement, seeds, engine)
    design = make_design(
        task, batch_sizes=[size], learning_rates=() if learning_rate is None else [learning_rate], seeds=seeds,
        budget=budget, optimizer=optimizer or SGD(), confirm=False, dtype=dtype,
    )  # fmt: skip
    design.check(task)
    check_device(device)
    folder = Path(out) if out is not None else default_folder(task.name)
    with opened(store, executor, Bar(task_facts(task, task.target)) if progress else None, folder) as (
        kept,
        hands,
        bar,
    ):
        shop = Workshop(kept, hands, device=device, engine=engine, watcher=bar, command=command)
        found = _carry_out(task, design, measurement, shop)
    write_json(found.to_json(), folder / "noise.json")
    return found


def default_batch_size(train_size: int) -> int:
    """Return the power of two nearest, by ratio, to the square root of the training set's size."""
    return min(2 ** round(math.log2(train_size) / 2), train_size)


def _check(task: Task, measurement: NoiseMoments, seeds: int, engine: str) -> None:
    """Do nothing if the noise of `task` can be measured.

    Raises:
        ValueError: If it cannot, with the numbers.
    """
    if engine not in ENGINES:
        raise ValueError(f"`critbatch.measure_noise(engine={engine!r})`: unknown. Use one of {', '.join(ENGINES)}.")
    if seeds < 2:
        raise ValueError(
            f"`critbatch.measure_noise(seeds={seeds})`: an interval over seeds needs at least 2. Use 3 or more."
        )
    if measurement.per_decade < 1:
        raise ValueError(
            f"`critbatch.measure_noise(looks_per_decade={measurement.per_decade})`: must be at least 1. Use 6."
        )
    coupled = has_batch_norm(task.initialise(0))
    fewest = 2 * measurement.group if coupled else 2
    there = min(measurement.examples, len(task.train))
    if there < fewest:
        why = f"two groups of {measurement.group}, for the model has BatchNorm" if coupled else "a variance"
        raise ValueError(
            f"`critbatch.measure_noise(measured_examples={measurement.examples})`: task {task.name!r} has "
            f"{len(task.train)} training examples, so that {there} can be measured, but {fewest} are needed for {why}. "
            f"Use {fewest} or more."
        )


def _carry_out(task: Task, design: Design, measurement: NoiseMoments, shop: Workshop) -> NoiseFinding:
    """Return what the noise of `task` is along the runs of `design`; those that the store has are not trained again."""
    progress = Progress(task, design, shop, KIND)
    same_device(progress)
    size = design.batch_sizes[0]
    rate, origin, warnings = _rate(progress)
    none = Evidence(pl.DataFrame(), pl.DataFrame())
    evidence = none if rate is None else progress.run("noise", design.measured(task, size, rate, (measurement,)))
    study = progress.study()
    everything = shop.store.evidence(study.run_ids).runs
    looks, averages = _read(evidence, progress.facts, measurement)
    averaged = averages.get("to_target") or averages.get("whole")
    words = suggestion(averaged) if averaged else None
    return NoiseFinding(
        task=progress.facts, device=describe_device(shop.device), versions=versions(),
        plan=study.description["plan"] | {"measurement": describe(measurement)}, batch_size=size, learning_rate=rate,
        learning_rate_origin=origin, objective=_objective(task, measurement),
        seconds=float(everything["seconds"].sum()),
        endings={ending.name: int((everything["ending"] == ending.name).sum()) for ending in Ending},
        looks=looks, whole=averages.get("whole"), last_half=averages.get("last_half"),
        to_target=averages.get("to_target"), suggestion=words,
        reason=None if words else _reason(evidence, averaged, origin), caution=CAUTION,
        warnings=(*_run_warnings(everything, evidence), *warnings, *_task_warnings(task, design, averages)),
    )  # fmt: skip


def _read(
    evidence: Evidence, facts: TaskFacts, measurement: NoiseMoments
) -> tuple[tuple[NoiseLook, ...], dict[str, NoiseAverage]]:  # fmt: skip
    """Return the noise at each look; and averaged over all steps, the second half of them, and those to the target."""
    if evidence.runs.is_empty():
        return (), {}
    moments = seed_moments(evidence, facts)
    some = None if facts.train_size and facts.train_size <= measurement.examples else measurement.examples
    looks = noise_looks(moments, batch_size=some)
    if not looks:
        return (), {}
    last = float(moments.steps[-1])
    stretches = {"whole": (0.0, last), "last_half": (last / 2, last)}
    reached = float(moments.steps_to_target.mean())
    if math.isfinite(reached):
        stretches["to_target"] = (0.0, min(reached, last))
    return looks, {name: noise_average(moments, looks, *ends) for name, ends in stretches.items()}


def _rate(progress: Progress) -> tuple[float | None, str, list[str]]:
    """Return the learning rate to train at, where it comes from, and what to beware of; None if none trains."""
    design, task = progress.design, progress.task
    if design.learning_rates:
        return design.learning_rates[0], GIVEN, []
    size = design.batch_sizes[0]
    evidence, chosen = bracketed(progress, "learning rate", design.pilot(task), factor=4.0, seeds=design.seeds[:1])
    tried = sorted(evidence.runs["learning_rate"])
    span = f"{len(tried)} a factor of 4 apart from {short(tried[0])} to {short(tried[-1])}, one seed"
    choice: Choice | None = chosen.get(size)
    if choice is None or choice.best_rate is None:
        ends = ", ".join(sorted(set(evidence.runs["ending"])))
        return None, f"none of {span}, trained: they ended as {ends}", []
    edge = f"the learning rate {short(choice.best_rate)} is the {choice.edge}est tried: a better one may lie beyond"
    return choice.best_rate, f"best of {span}, by {choice.criterion}", [edge] if choice.edge != "none" else []


def _reason(evidence: Evidence, whole: NoiseAverage | None, origin: str) -> str:
    """Return why there is no suggestion."""
    if evidence.runs.is_empty():
        return f"no learning rate was found: {origin}. Give one with --learning-rate (learning_rate=)"
    if whole is not None:
        return whole.noise_scale.reason or f"the bound of {whole.noise_scale.brief()} examples says nothing"
    ends = evidence.runs["ending"].value_counts(sort=True).iter_rows()
    return (
        f"no look has finite moments from every run that came to its end; the runs ended as "
        f"{', '.join(f'{name} ({count})' for name, count in ends)}. Try a lower learning rate"
    )


def _objective(task: Task, measurement: NoiseMoments) -> str:
    """Return in words of which objective the gradients are, and how many examples are behind them."""
    there = len(task.train)
    count = min(measurement.examples, there)
    whose = f"all {there:,} training examples" if count == there else f"{count:,} of {there:,} training examples"
    if not has_batch_norm(task.initialise(0)):
        return f"gradients of single examples, {whose} at each look"
    return (
        f"the model has BatchNorm, so that single examples have no gradient: what is measured is the ghost-batch "
        f"objective at groups of {measurement.group} examples, {whose} at each look; another group size has another "
        "noise scale"
    )


def _run_warnings(everything: pl.DataFrame, evidence: Evidence) -> list[str]:
    """Return what to beware of because of how the runs ended."""
    found = []
    failed = everything.filter(pl.col("ending") == Ending.FAILED.name)
    if len(failed):
        said = (failed["note"][0] or "nothing").strip().splitlines()[-1]
        found.append(f"{len(failed)} runs FAILED; the first said: {said}")
    if evidence.runs.is_empty():
        return found
    ends = evidence.runs["ending"]
    lost = [(name, int((ends == name).sum())) for name in (Ending.DIVERGED.name, Ending.INFEASIBLE.name)]
    found += [
        f"{count} of {len(ends)} measured runs {name}: the numbers are those of the others, which flatters them; use a "
        f"{'lower learning rate' if name == Ending.DIVERGED.name else 'smaller batch size'}"
        for name, count in lost if count
    ]  # fmt: skip
    if len(ends) < 5:
        found.append(f"only {len(ends)} seeds, each one measurement: intervals are wide; 5 seeds or more narrow them")
    return found


def _task_warnings(task: Task, design: Design, averages: Mapping[str, NoiseAverage]) -> list[str]:
    """Return what to beware of because of the task, its target or the optimizer."""
    found = []
    if averages and "to_target" not in averages:
        why = (
            "the task has no target"
            if task.target is None
            else f"not every run reached the target {task.target.value:g}"
        )
        found.append(
            f"{why}: the suggestion is that of the whole training, long or short, and the noise scale mostly grows with "
            "its length"
        )
    if not isinstance(design.optimizer, SGD):
        name = type(design.optimizer).__name__
        found.append(
            f"the simple noise scale belongs to plain SGD; {name} steps along rescaled gradients, whose noise scale is "
            "another"
        )
    if task.l2:
        found.append(f"the gradients are of the loss without the task's L2 penalty of {task.l2:g}")
    return found
