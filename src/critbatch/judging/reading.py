"""What judges read: the tracks of an arm as a grid, and its numbers under a budget."""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from ..analysis.grid import Grid, Track, tracks
from ..analysis.readings import position
from ..claim import Exhibit
from ..finding import TaskFacts
from ..record import Ending, Evidence
from ..statistics.censoring import crossing, smooth, value_at

Reader = Callable[[Track], float]
LAST = 3  # looks


def arm_grid(exhibit: Exhibit, arm: str, *, role: str = "main") -> Grid:
    """Return the runs of an arm as batch size x learning rate x seed; cells that lack a seed are left out.

    Args:
        exhibit: The evidence.
        arm: Its runs must differ in nothing but these three.
        role: Of the arm's task.
    """
    looks = arm_tracks(exhibit)
    arranged: dict[int, dict[float, dict[int, Track]]] = {}
    for run in exhibit.arms[arm]:
        if run.id in looks:
            arranged.setdefault(run.batch_size, {}).setdefault(run.learning_rate, {})[run.seed] = looks[run.id]
    found = tuple(sorted({seed for rates in arranged.values() for row in rates.values() for seed in row}))
    whole = {
        size: {rate: row for rate, row in rates.items() if len(row) == len(found)} for size, rates in arranged.items()
    }
    facts = exhibit.facts[role]
    return Grid(facts, found, {size: rates for size, rates in whole.items() if rates})


@functools.lru_cache(maxsize=4)
def arm_tracks(exhibit: Exhibit) -> dict[str, Track]:
    """Return the track of every run of an exhibit, by run id."""
    return tracks(exhibit.evidence)


def only(exhibit: Exhibit, arm: str) -> Evidence:
    """Return the tables of one arm."""
    ids = [run.id for run in exhibit.arms[arm]]
    tables = (exhibit.evidence.runs, exhibit.evidence.records)
    return Evidence(*(table.filter(pl.col("run").is_in(ids)) for table in tables))


def at(budget: str, amount: float, quantity: str, facts: TaskFacts) -> Reader:
    """Return a reader of a quantity when `amount` of a budget is spent; NaN for runs that diverged or did not get there.

    Args:
        budget: epochs, updates, examples or seconds.
        amount: In that unit.
        quantity: As recorded.
        facts: Of the task.
    """

    def read(track: Track) -> float:
        values = track.values.get(quantity)
        if values is None or not track.completed:
            return np.nan
        return value_at(position(track, budget, facts.train_size), values, amount)

    return read


def at_end(quantity: str) -> Reader:
    """Return a reader of the median of the last three smoothed looks; NaN for runs that diverged."""

    def read(track: Track) -> float:
        values = track.values.get(quantity)
        return np.nan if values is None or not track.completed else float(np.median(smooth(values)[-LAST:]))

    return read


def last(quantity: str) -> Reader:
    """Return a reader of a quantity at the last look that has it; NaN where there is none, or the run diverged."""

    def read(track: Track) -> float:
        values = track.values.get(quantity)
        if values is None or not track.completed:
            return np.nan
        seen = values[np.isfinite(values)]
        return float(seen[-1]) if len(seen) else np.nan

    return read


def steps_to(quantity: str, target: float, direction: str) -> Reader:
    """Return a reader of the steps at which a quantity stays past `target`; infinite where it was not seen to."""

    def read(track: Track) -> float:
        values = track.values.get(quantity)
        found = None if values is None or not track.completed else crossing(track.step, values, target, direction)
        return np.inf if found is None else max(found, 1.0)

    return read


def tuned(
    grid: Grid, batch_size: int, *, score: Reader, read: Reader | None = None, by_halves: bool = False
) -> np.ndarray:
    """Return `read` of every seed at the learning rate that is best for the other seeds, shape (seed,).

    Choosing on the other seeds means that a number is never flattered by its own choice. Where seeds scatter more than
    learning rates differ, each seed's choice hangs on who is left out, and seeds then depend on each other: a test of
    many rivals is wrong too often. By halves, the even seeds choose for the odd ones and the other way round. NaN where
    no learning rate trained with every other seed.

    Args:
        grid: An arm.
        batch_size: Which row of it.
        score: Lower is better; NaN and infinity count as worst.
        read: What to return; the default is the score.
        by_halves: Choose on the other half of the seeds, not on all others.
    """
    scores = np.nan_to_num(grid.table(batch_size, score), nan=np.inf, posinf=np.inf)
    values = scores if read is None else grid.table(batch_size, read)
    count = scores.shape[1]
    found = np.full(count, np.nan)
    for seed in range(count):
        others = [one for one in range(count) if ((one - seed) % 2 if by_halves else one != seed)] or [seed]
        means = scores[:, others].mean(1)
        if np.isfinite(means).any():
            found[seed] = values[int(np.argmin(means)), seed]
    return found


def best_rate_by_seed(grid: Grid, batch_size: int, *, score: Reader) -> np.ndarray:
    """Return each seed's best learning rate between the grid's points, shape (seed,): a parabola through three scores.

    NaN where the best is at the edge of the grid or has a neighbour that did not train: nothing is known beyond it.
    """
    scores = np.nan_to_num(grid.table(batch_size, score), nan=np.inf, posinf=np.inf)
    logs = np.log(grid.rates(batch_size))
    found = np.full(scores.shape[1], np.nan)
    for seed, column in enumerate(scores.T):
        best = int(np.argmin(column))
        if 0 < best < len(column) - 1 and np.isfinite(column[best - 1 : best + 2]).all():
            found[seed] = np.exp(vertex(logs[best - 1 : best + 2], column[best - 1 : best + 2]))
    return found


def vertex(x: np.ndarray, y: np.ndarray) -> float:
    """Return where the parabola through three points is lowest, at most halfway to the outer ones; the middle if flat."""
    before, after = x[1] - x[0], x[2] - x[1]
    rise, fall = (y[2] - y[1]) * before, (y[0] - y[1]) * after
    if rise + fall <= 0:
        return float(x[1])
    apart = (fall * after - rise * before) / (rise + fall) / 2
    return float(x[1] + np.clip(apart, -before / 2, after / 2))


def chosen_rate(grid: Grid, batch_size: int, *, score: Reader) -> float | None:
    """Return the learning rate with the lowest mean score over seeds, among those that trained with every seed."""
    means = np.nan_to_num(grid.table(batch_size, score), nan=np.inf, posinf=np.inf).mean(1)
    return float(grid.rates(batch_size)[int(np.argmin(means))]) if np.isfinite(means).any() else None


def worse(grid: Grid, quantity_reader: Reader) -> Reader:
    """Return a reader whose lower values are better, for a reader of the task's metric."""
    sign = -1.0 if grid.facts.better == "above" else 1.0
    return lambda track: sign * quantity_reader(track)


def arm_values(exhibit: Exhibit, arm: str, read: Reader, *, role: str = "main") -> np.ndarray:
    """Return `read` of the runs of an arm that has one batch size and one learning rate, shape (seed,), by seed."""
    grid = arm_grid(exhibit, arm, role=role)
    tables = [grid.table(size, read) for size in grid.batch_sizes()]
    return tables[0][0] if tables else np.array([])


def survived(track: Track) -> float:
    """Return 1 for a run that came to a regular end, 0 for one that did not."""
    return float(track.ending in (Ending.BUDGET, Ending.TARGET))


def table(grid: Grid, sizes: Sequence[int], values: Callable[[int], np.ndarray]) -> np.ndarray:
    """Return `values` (seed,) of each batch size as one table, shape (seed, size)."""
    return np.stack([values(size) for size in sizes], axis=1) if len(sizes) else np.empty((len(grid.seeds), 0))


def at_best_look(quantity: str, by: str, better: str) -> Reader:
    """Return a reader of a quantity at the look where another one is best, both smoothed: training that is ended early.

    NaN for runs that diverged, or lack one of the two.

    Args:
        quantity: What to read, as recorded.
        by: What is best there.
        better: "above" or "below".
    """
    sign = 1.0 if better == "above" else -1.0

    def read(track: Track) -> float:
        values, chosen = track.values.get(quantity), track.values.get(by)
        if values is None or chosen is None or not track.completed or not np.isfinite(chosen).all():
            return np.nan
        return float(smooth(values)[int(np.argmax(sign * smooth(chosen)))])

    return read
