"""Training losses as goals: what every batch size reaches, and the steps that each takes to get there."""

from collections.abc import Sequence

import numpy as np

from ..analysis.grid import Grid
from ..curve import Curve
from ..statistics.resampling import replicated
from .reading import at_end, steps_to, table, tuned

LOSS = "train_loss"


def loss_goals(grid: Grid, shares: Sequence[float]) -> list[float]:
    """Return training losses on the way from the start to what every batch size reaches at its best learning rate.

    The shares are of the way in log loss, so that goals are spread over all of it. They favour no batch size by name,
    but depend on the batch sizes that were tried. Empty where some batch size never trained, or nothing was reached.

    Args:
        grid: A sweep.
        shares: Between 0 and 1, ascending.
    """
    starts, ends = [], []
    for size in grid.batch_sizes():
        means = np.nan_to_num(grid.table(size, at_end(LOSS)), nan=np.inf).mean(1)
        starts += [
            track.values[LOSS][0]
            for row in grid.tracks[size].values()
            for track in row.values()
            if LOSS in track.values
        ]
        ends.append(float(means.min()))
    start, end = (float(np.mean(starts)), max(ends)) if starts else (np.nan, np.nan)
    return [start * (end / start) ** share for share in shares] if 0 < end < start < np.inf else []


def log_steps(grid: Grid, goal: float) -> np.ndarray:
    """Return log steps to a training loss at the rates that are best for the other seeds, shape (seed, size).

    NaN for a batch size at which no learning rate was seen to get there with every other seed, or a seed that did not.
    """
    reader = steps_to(LOSS, goal, "below")
    found = table(
        grid, grid.batch_sizes(), lambda size: tuned(grid, size, score=lambda track: float(np.log(reader(track))))
    )
    return np.where(np.isfinite(found), found, np.nan)


def fitted_replicates(curve: Curve, sizes: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """Return a curve's coefficients through the mean log steps of all seeds, then without each, (replicate, coefficient).

    Args:
        curve: With fewer coefficients than there are sizes.
        sizes: Shape (size,).
        logs: Log steps, shape (seed, size), finite.
    """
    return curve.fit(sizes, np.exp(replicated(logs)))
