"""The same sweep read under each budget: equal epochs, updates, examples, seconds, or when each run has converged."""

from collections.abc import Callable

import numpy as np

from ..estimate import Estimate
from ..finding import Reading, ReadingRow, Winner
from ..statistics.censoring import smooth, value_at
from ..statistics.means import mean_estimate
from ..statistics.plateau import has_converged
from ..statistics.selection import mean_scores
from .comparison import most
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
    rows, winner = _read(grid, _at_convergence(grid), "of converged runs, at their end", level)
    return found | {"convergence": (Reading("convergence", None, "converged runs", rows, winner),)}


def position(track: Track, budget: str, train_size: int) -> np.ndarray:
    """Return how far a run has come at each look, in the unit of `budget`, shape (look,)."""
    return {
        "epochs": track.examples / train_size,
        "updates": track.step,
        "examples": track.examples,
        "seconds": track.seconds,
    }[budget]


def common_amount(grid: Grid, budget: str) -> float:
    """Return the largest amount of `budget` that every batch size reached with every seed of some learning rate.

    0 if some batch size never completed a run.
    """

    def last(track: Track) -> float:
        return float(position(track, budget, grid.facts.train_size)[-1]) if track.completed else 0.0

    return min(float(np.nan_to_num(grid.table(size, last)).min(-1).max()) for size in grid.batch_sizes())


def _reading(grid: Grid, budget: str, share: float, level: float) -> Reading:
    amount = common_amount(grid, budget) * share
    size = grid.facts.train_size

    def at_amount(track: Track, quantity: str) -> float:
        return value_at(position(track, budget, size), track.values[quantity], amount) if len(track.step) else np.nan

    rows, winner = _read(grid, at_amount, f"at {amount:.4g} {UNITS[budget]}", level)
    return Reading(budget, amount, UNITS[budget], rows, winner)


def _at_convergence(grid: Grid) -> Reader:
    selected = f"{grid.facts.selection_split}_{grid.facts.metric}"

    def at_end(track: Track, quantity: str) -> float:
        if not track.completed or not has_converged(track.step, track.values[selected], grid.facts.better):
            return np.nan
        return float(np.median(smooth(track.values[quantity])[-3:]))

    return at_end


def _read(grid: Grid, read: Reader, when: str, level: float) -> tuple[tuple[ReadingRow, ...], Winner]:
    facts = grid.facts
    sign = -1.0 if facts.better == "above" else 1.0
    rows: list[ReadingRow] = []
    tests: dict[int, np.ndarray] = {}
    for size in grid.batch_sizes():
        selected = f"{facts.selection_split}_{facts.metric}"
        scores = mean_scores(sign * grid.table(size, lambda track, name=selected: read(track, name)))
        if not np.isfinite(scores).any():
            rows.append(_nothing(size, when, level))
            continue
        best = int(np.argmin(scores))
        test, loss = (
            grid.table(size, lambda track, name=name: read(track, name))[best]
            for name in (f"test_{facts.metric}", "train_loss")
        )
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
    return tuple(rows), most(tests, better=facts.better, unit=facts.metric, definition=definition, level=level)


def _nothing(size: int, when: str, level: float) -> ReadingRow:
    reason = f"no learning rate has a value {when} for every seed"
    missing = Estimate.missing(reason, unit="", definition=f"test metric {when}", level=level)
    return ReadingRow(size, None, missing, missing)
