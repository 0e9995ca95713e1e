"""The same sweep read under each budget: equal epochs, updates, examples, seconds, or when each run has converged."""

import math
from collections.abc import Callable

import numpy as np

from ..estimate import Estimate, short
from ..finding import Reading, ReadingRow, Winner
from ..statistics.censoring import smooth, value_at
from ..statistics.means import mean_estimate
from ..statistics.plateau import has_converged
from ..statistics.selection import mean_scores
from .comparison import equivalence_margin, most
from .grid import Grid, Track

Reader = Callable[[Track, str], float]
SHARES = (0.125, 1.0)
UNITS = {"epochs": "epochs", "updates": "steps", "examples": "examples", "seconds": "seconds of training"}


def readings(
    grid: Grid, *, stretched_over: tuple[str, ...] | None = None, level: float = 0.95
) -> dict[str, tuple[Reading, ...]]:
    """Return the sweep under each budget, at an eighth and at all of what every batch size was trained for.

    Under each budget the learning rate of each batch size is chosen anew, on the task's selection split, among those
    that every seed survived. Runs whose schedule is stretched over a budget can be read at the whole of this budget
    alone: anywhere else they are under way to another end.

    Args:
        grid: The sweep.
        stretched_over: None for a constant schedule; else the budgets over which the schedule was stretched.
        level: Confidence level.
    """
    found: dict[str, tuple[Reading, ...]] = {}
    for budget in UNITS:
        shares = SHARES if stretched_over is None else SHARES[-1:] if budget in stretched_over else ()
        found[budget] = tuple(_reading(grid, budget, share, level) for share in shares)
    rows, winner = _read(grid, _at_end, _if_converged(grid), "of converged runs, at their end", level)
    return found | {"convergence": (Reading("convergence", None, "converged runs", rows, winner),)}


def position(track: Track, budget: str, train_size: int | None) -> np.ndarray:
    """Return how far a run has come at each look, in the unit of `budget`, shape (look,)."""
    return {
        "epochs": track.examples / (train_size or math.inf),
        "updates": track.step,
        "examples": track.examples,
        "seconds": track.seconds,
    }[budget]


def common_amount(grid: Grid, budget: str) -> float:
    """Return the largest amount of `budget` that every batch size reached with every seed of some learning rate.

    Batch sizes at which no learning rate trained to its end with every seed do not count; 0 if there is no other.
    """

    def last(track: Track) -> float:
        return float(position(track, budget, grid.facts.train_size)[-1]) if track.completed else 0.0

    reached = [float(np.nan_to_num(grid.table(size, last)).min(-1).max()) for size in grid.batch_sizes()]
    return min((amount for amount in reached if amount > 0), default=0.0)


def _reading(grid: Grid, budget: str, share: float, level: float) -> Reading:
    amount = common_amount(grid, budget) * share
    size = grid.facts.train_size

    def at_amount(track: Track, quantity: str) -> float:
        there = position(track, budget, size)
        if len(there) < 2 or amount < there[1]:  # before the first step there is no trained model to read
            return np.nan
        return value_at(there, track.values[quantity], amount)

    rows, winner = _read(grid, at_amount, at_amount, f"at {short(amount)} {UNITS[budget]}", level)
    return Reading(budget, amount or None, UNITS[budget], rows, winner)


def _at_end(track: Track, quantity: str) -> float:
    return float(np.median(smooth(track.values[quantity])[-3:])) if track.completed else np.nan


def _if_converged(grid: Grid) -> Reader:
    """Return a reader of the end of runs that has no value where the selection metric still improves."""
    selected = f"{grid.facts.selection_split}_{grid.facts.metric}"

    def read(track: Track, quantity: str) -> float:
        if not track.completed or not has_converged(track.step, track.values[selected], grid.facts.better):
            return np.nan
        return _at_end(track, quantity)

    return read


def _read(
    grid: Grid, select: Reader, read: Reader, when: str, level: float
) -> tuple[tuple[ReadingRow, ...], Winner]:  # fmt: skip
    """Return a row for each batch size, at the learning rate that `select` is best at, as `read` reads it; and who wins."""
    facts = grid.facts
    sign = -1.0 if facts.better == "above" else 1.0
    names = (f"{facts.selection_split}_{facts.metric}", f"test_{facts.metric}", "train_loss")
    rows: list[ReadingRow] = []
    tests: dict[int, np.ndarray] = {}
    for size in grid.batch_sizes():
        scores = mean_scores(sign * grid.table(size, lambda track: select(track, names[0])))
        best = int(np.argmin(scores))
        test, loss = (grid.table(size, lambda track, name=name: read(track, name))[best] for name in names[1:])
        if not (np.isfinite(scores[best]) and np.isfinite(test).all() and np.isfinite(loss).all()):
            rows.append(_nothing(size, when, level))
            continue
        tests[size] = test
        rows.append(
            ReadingRow(
                size,
                float(grid.rates(size)[best]),
                mean_estimate(test, unit=facts.metric, definition=f"test {facts.metric} {when}", level=level),
                mean_estimate(loss, unit="loss", definition=f"training loss {when}", level=level),
            )
        )
    definition = f"test {facts.metric} {when}"
    margin, relative = equivalence_margin(facts)
    return tuple(rows), most(
        tests,
        better=facts.better,
        unit=facts.metric,
        definition=definition,
        margin=margin,
        relative=relative,
        level=level,
    )


def _nothing(size: int, when: str, level: float) -> ReadingRow:
    reason = f"the best learning rate has no value {when} with every seed"
    missing = Estimate.missing(reason, unit="", definition=f"test metric {when}", level=level)
    return ReadingRow(size, None, missing, missing)
