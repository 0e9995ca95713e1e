"""Choosing the best of a row of candidates from scores over seeds, and saying when the best may lie outside."""

import numpy as np


def mean_scores(scores: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis; infinity where any score is infinite or missing (lower is better)."""
    return np.where(np.isnan(scores), np.inf, scores).mean(-1)


def worse_sides(scores: np.ndarray) -> tuple[bool, bool]:
    """Return whether a candidate below, and one above the best is worse than it by more than one standard error.

    The difference is paired by seed. A candidate that diverged or never got there (infinite score) is worse; one that
    has a missing score (NaN) says nothing.

    Args:
        scores: Shape (candidate, seed), in the order of the candidates, lower is better.
    """
    filled = np.where(np.isnan(scores), np.inf, scores)
    means = filled.mean(-1)
    best = int(np.argmin(means))
    if not np.isfinite(means[best]):
        return False, False

    def worse(other: int) -> bool:
        if np.isnan(scores[other]).any():
            return False
        if not np.isfinite(means[other]):
            return True
        difference = filled[other] - filled[best]
        error = difference.std(ddof=1) / len(difference) ** 0.5 if len(difference) > 1 else 0.0
        return bool(difference.mean() > error)

    return any(map(worse, range(best))), any(map(worse, range(best + 1, len(means))))


def vertex(positions: np.ndarray, scores: np.ndarray, dither: np.ndarray | float = 0.0) -> np.ndarray:
    """Return where the parabola through the best candidate and its two neighbours has its lowest point.

    The vertex of three points around a minimum never leaves the outer two. Where the best is at an end, or a neighbour
    is infinite, there is no parabola: the best candidate itself is returned, moved by `dither` towards its neighbours,
    so that draws show how coarse the candidates are.

    Args:
        positions: Shape (candidate,), ascending, for example log learning rates.
        scores: Shape (..., candidate), lower is better.
        dither: Shape (...,), from -1 (half way to the lower neighbour) to 1 (half way to the upper one).

    Returns:
        Shape (...,), in the unit of `positions`; NaN where no score is finite.
    """
    best = np.argmin(scores, axis=-1)
    lowest = np.take_along_axis(scores, best[..., None], -1)[..., 0]
    left, right = np.maximum(best - 1, 0), np.minimum(best + 1, len(positions) - 1)
    around = [np.take_along_axis(scores, index[..., None], -1)[..., 0] for index in (left, right)]
    whole = (left < best) & (right > best) & np.isfinite(around[0]) & np.isfinite(around[1])
    x0, x1, x2 = positions[left], positions[best], positions[right]
    with np.errstate(invalid="ignore", divide="ignore"):
        rise_left, rise_right = (around[0] - lowest) / (x1 - x0), (around[1] - lowest) / (x2 - x1)
        slope = rise_left + rise_right
        middle = x1 + 0.5 * ((x2 - x1) * rise_left - (x1 - x0) * rise_right) / slope
    coarse = x1 + np.where(np.asarray(dither) < 0, x1 - x0, x2 - x1) * dither / 2
    found = np.where(whole & (slope > 0), middle, coarse)
    return np.where(np.isfinite(lowest), found, np.nan)
