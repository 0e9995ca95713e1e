"""Numbers by seed, so that arms that lost different seeds still pair."""

from collections.abc import Mapping

import numpy as np

from ..analysis.grid import Grid
from .reading import Reader, tuned

BySeed = Mapping[int, float]


def tuned_by_seed(grid: Grid, batch_size: int, *, score: Reader, read: Reader | None = None) -> BySeed:
    """Return what `tuned` reads of each seed, by seed; nothing where the grid lacks the batch size.

    Args:
        grid: An arm.
        batch_size: Which row of it.
        score: Lower is better.
        read: What to return; the default is the score.
    """
    if batch_size not in grid.tracks:
        return {}
    found = tuned(grid, batch_size, score=score, read=read)
    return {seed: float(value) for seed, value in zip(grid.seeds, found, strict=True) if np.isfinite(value)}


def differences(one: BySeed, other: BySeed) -> np.ndarray:
    """Return the first less the second for every seed that both have, shape (seed,), in the order of seeds."""
    return np.array([one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())])


def stacked(columns: Mapping[float, BySeed]) -> np.ndarray:
    """Return a table with a row for each seed that any column has, shape (seed, column); NaN where one has none."""
    seeds = sorted({seed for values in columns.values() for seed in values})
    found = [[values.get(seed, np.nan) for values in columns.values()] for seed in seeds]
    return np.array(found, dtype=float).reshape(len(seeds), len(columns))
