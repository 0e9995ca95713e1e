"""Training losses as goals: what every batch size reaches, and the steps that each takes to get there."""

from collections.abc import Sequence

import numpy as np

from ..analysis.choice import choice_of
from ..analysis.grid import Grid, Track
from ..analysis.heights import Heights, heights
from ..claim import Line
from ..statistics.censoring import value_at
from ..statistics.resampling import margin_of
from .reading import steps_to

LOSS = "train_loss"
LEVEL = 0.95
LEAST_FALL = 0.95  # of the starting loss: what falls less is no training


def loss_goals(grid: Grid, shares: Sequence[float]) -> list[float]:
    """Return training losses on the way from the start to what every batch size reaches at its best learning rate.

    What it reaches in a third of its training: a crossing has to be confirmed by looks after it. The shares are of the
    way in log loss, so that goals are spread over all of it. They favour no batch size by name, but depend on the batch
    sizes that were tried. Empty where some batch size never trained, or the loss hardly fell.

    Args:
        grid: A sweep.
        shares: Between 0 and 1, ascending.
    """
    starts, ends = [], []
    for size in grid.batch_sizes():
        means = np.nan_to_num(grid.table(size, _at_a_third), nan=np.inf).mean(1)
        starts += [
            track.values[LOSS][0]
            for row in grid.tracks[size].values()
            for track in row.values()
            if LOSS in track.values
        ]
        ends.append(float(means.min()))
    start, end = (float(np.mean(starts)), max(ends)) if starts else (np.nan, np.nan)
    return [start * (end / start) ** share for share in shares] if 0 < end < LEAST_FALL * start < np.inf else []


def _at_a_third(track: Track) -> float:
    values = track.values.get(LOSS)
    return value_at(track.step, values, track.step[-1] / 3) if values is not None and track.completed else np.nan


def goal_heights(grid: Grid, goal: float) -> Heights:
    """Return log steps to a training loss by batch size at its best learning rate, of all seeds and without each.

    The best rate lies between those tried and is sought anew without each seed. Only batch sizes at which some rate got
    there with every seed.
    """
    reader = steps_to(LOSS, goal, "below")
    scores = {size: np.log(grid.table(size, reader)) for size in grid.batch_sizes()}
    nothing = {size: np.full(table.shape, np.nan) for size, table in scores.items()}
    return heights({size: choice_of(grid.rates(size), table, nothing[size]) for size, table in scores.items()})


def examples_line(name: str, found: Heights) -> Line:
    """Return examples to a goal against batch size, with intervals."""
    points = []
    for size, column in zip(found.sizes, found.logs.T, strict=True):
        half = margin_of(column, found.groups, LEVEL)
        low, value, high = (float(size * np.exp(column[0] + side * half)) for side in (-1, 0, 1))
        points.append((float(size), low, value, high) if np.isfinite(half) else (float(size), None, value, None))
    return Line(name, tuple(points))
