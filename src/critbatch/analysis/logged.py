"""Steps-to-target curves from what other people's logs hold."""

import math
import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np
import polars as pl

from ..curve import Curve, Fit
from ..curves.hyperbola import Hyperbola
from ..log import RUNS, Log
from ..statistics.censoring import crossing, last_short
from .choice import Choice, choice_of
from .heights import Heights, alone, from_summaries, heights
from .target_curve import fit_curve, fit_heights

ALONE = "1"  # the seed of a run whose log names none


def runs_of_curves(curves: pl.DataFrame, target: float, direction: str) -> pl.DataFrame:
    """Return one row a run from full curves: the step at which it passed the target for good, or the last one seen.

    Args:
        curves: With the columns run, batch_size, learning_rate, seed, step, metric.
        target: In the unit of the metric.
        direction: "above" or "below": where the target's far side is.
    """
    rows = []
    for (_, *facts), run in curves.sort("step").group_by(
        "run", "batch_size", "learning_rate", "seed", maintain_order=True
    ):
        steps, values = run["step"].to_numpy().astype(float), run["metric"].to_numpy().astype(float)
        at = crossing(steps, values, target, direction) or _at_its_end(steps, values, target, direction)
        lost = not np.isfinite(values[-1])
        seen = last_short(steps, values, target, direction) if at is None else at
        rows.append((*facts, max(seen, 1.0), at is not None, lost and at is None))
    names = ("batch_size", "learning_rate", "seed", "steps", "reached", "diverged")
    kinds = (pl.Int64, pl.Float64, pl.String, pl.Float64, pl.Boolean, pl.Boolean)
    return pl.DataFrame(rows, schema=dict(zip(names, kinds, strict=True)), orient="row")


def _at_its_end(steps: np.ndarray, values: np.ndarray, target: float, direction: str) -> float | None:
    """Return when a run passed the target whose log ends there: whoever stops at the target shows no look beyond it."""
    beyond = steps[-1] * (1 + 1e-9 * np.arange(1, 4))
    return crossing(np.append(steps, beyond), np.append(values, np.repeat(values[-1], 3)), target, direction)


def choices_of_runs(runs: pl.DataFrame) -> tuple[dict[int, Choice], bool]:
    """Return the choice at each batch size from a table with a row a run, and whether seeds are paired across them.

    Args:
        runs: With the columns batch_size, learning_rate, seed, steps, reached, diverged.
    """
    runs = _numbered(runs)
    seeds = sorted(runs["seed"].unique().to_list())
    by_size = {int(size[0]): some for size, some in runs.group_by("batch_size")}
    paired = bool(runs["named"].all()) and len(seeds) > 1 and _mostly_shared(by_size.values(), seeds)
    return {size: _choice(some, seeds if paired else None) for size, some in sorted(by_size.items())}, paired


def _numbered(runs: pl.DataFrame) -> pl.DataFrame:
    """Return the runs with a seed each: their own, or their place among those of the same batch size and rate."""
    place = pl.int_range(pl.len()).over("batch_size", "learning_rate").cast(pl.String)
    return runs.with_columns(pl.col("seed").is_not_null().alias("named"), pl.col("seed").fill_null(place))


def _mostly_shared(parts: Iterable[pl.DataFrame], seeds: Sequence[str]) -> bool:
    """Return whether every batch size has at least half of all seeds: else leaving one out says nothing of the others."""
    return all(part["seed"].n_unique() >= max(len(seeds) / 2, 2) for part in parts)


def _choice(runs: pl.DataFrame, seeds: Sequence[str] | None) -> Choice:
    """Return the choice of one batch size; `seeds` gives the order of columns, None puts its own seeds side by side."""
    rates = sorted({math.nan if rate is None else rate for rate in runs["learning_rate"]})
    columns = list(seeds or sorted(runs["seed"].unique().to_list()))
    scores, bounds = (np.full((len(rates), len(columns)), np.nan) for _ in range(2))
    for row in runs.iter_rows(named=True):
        rate = math.nan if row["learning_rate"] is None else row["learning_rate"]
        index = next(at for at, one in enumerate(rates) if one == rate or (math.isnan(one) and math.isnan(rate)))
        place = index, columns.index(row["seed"])
        scores[place] = math.log(row["steps"]) if row["reached"] else math.inf
        if not row["reached"] and not row["diverged"]:
            bounds[place] = math.log(row["steps"])
    return choice_of(np.array(rates), scores, bounds)


def heights_of(log: Log, choices: dict[int, Choice], *, paired: bool) -> Heights:
    """Return log steps to target with replicates, from wherever the log's uncertainty comes: seeds, its own standard
    deviations, or, with a single run at each batch size, the scatter about the curve.
    """
    if log.summaries is not None:
        best = log.summaries.sort("mean").group_by("batch_size").first().sort("batch_size")
        return from_summaries(*(best[name].to_numpy() for name in ("batch_size", "mean", "sd", "count")))
    found = heights(choices, paired=paired)
    return found if found.groups else alone(found, Hyperbola())


def fit_log(
    log: Log, curve: Curve, *, level: float = 0.95, thorough: bool = True
) -> tuple[Fit, dict[int, Choice], bool]:
    """Return the curve through a log's steps to target, the choices at its batch sizes, and whether seeds are paired.

    Args:
        log: With runs or summaries; curves have to be turned into runs first.
        curve: A `Hyperbola`.
        level: Confidence level.
        thorough: Whether to compare shapes, and to set a bootstrap interval beside the jackknife's.
    """
    choices, paired = ({}, False) if log.runs is None else choices_of_runs(log.runs)
    if choices and heights(choices, paired=paired).groups:
        return fit_curve(choices, curve, paired=paired, level=level, thorough=thorough), choices, paired
    return fit_heights(heights_of(log, choices, paired=paired), curve, level=level, thorough=thorough), choices, paired


def fit_steps_to_target(
    batch_size: Iterable[SupportsIndex], steps: Iterable[SupportsFloat], *, seed: Iterable[object] | None = None,
    reached: Iterable[object] | None = None, learning_rate: Iterable[SupportsFloat] | None = None, level: float = 0.95,
    thorough: bool = True,
) -> Fit:  # fmt: skip
    """Return the curve S(B) = S_min + E_min/B through runs of your own, with the critical batch size and its interval.

    Args:
        batch_size: Examples per update of each run.
        steps: Updates until the target was reached; of a run that did not reach it, the last update seen.
        seed: Runs of the same seed are compared with each other; without it batch sizes are independent.
        reached: Whether each run reached the target; the default is that all did.
        learning_rate: Of each run; the best one is sought at each batch size.
        level: Confidence level.
        thorough: Whether to compare shapes, and to set a bootstrap interval beside the jackknife's.

    Raises:
        ValueError: If lengths differ, a batch size or a step count is not above 0, or there is no run.
    """
    columns: dict[str, list[Any]] = {
        "batch_size": [operator.index(one) for one in batch_size],
        "steps": [float(one) for one in steps],
        **({} if seed is None else {"seed": [str(one) for one in seed]}),
        **({} if reached is None else {"reached": [bool(one) for one in reached]}),
        **({} if learning_rate is None else {"learning_rate": [float(one) for one in learning_rate]}),
    }
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1 or not lengths["batch_size"]:
        raise ValueError(f"`fit_steps_to_target`: needs columns of one length, at least 1, got {lengths}.")
    numbers = (*columns["batch_size"], *columns["steps"], *columns.get("learning_rate", ()))
    wrong = [one for one in numbers if not (math.isfinite(one) and one > 0)]
    if wrong:
        raise ValueError(
            f"`fit_steps_to_target`: batch sizes, steps and learning rates must be above 0 and finite, got {wrong[:5]}."
        )
    if seed is not None:
        rates = columns.get("learning_rate", [0.0] * len(columns["seed"]))
        runs = Counter(zip(columns["batch_size"], rates, columns["seed"], strict=False))
        if twice := [run for run, count in runs.items() if count > 1]:
            raise ValueError(
                f"`fit_steps_to_target`: (batch size, learning rate, seed) occur twice: {twice[:3]}. Give each run its own seed."
            )
    count = lengths["batch_size"]
    absent = {
        "learning_rate": [None] * count,
        "seed": [None] * count,
        "reached": [True] * count,
        "diverged": [False] * count,
    }
    table = pl.DataFrame({name: pl.Series((absent | columns)[name], dtype=kind) for name, kind in RUNS.items()})
    return fit_log(Log(runs=table), Hyperbola(), level=level, thorough=thorough)[0]
