"""Choosing the best of a row of candidates from scores over seeds, and saying when the best may lie outside."""

import numpy as np


def mean_scores(scores: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis; infinity where any score is infinite or missing (lower is better)."""
    return np.where(np.isnan(scores), np.inf, scores).mean(-1)


def worse_sides(scores: np.ndarray, best: int | None = None) -> tuple[bool, bool]:
    """Return whether a candidate below, and one above the best is worse than it by more than one standard error.

    The difference is paired by seed. A candidate that diverged or never got there (infinite score) is worse; one that
    shares fewer than two seeds with the best (NaN: no run) says nothing.

    Args:
        scores: Shape (candidate, seed), in the order of the candidates, lower is better.
        best: Index of the best candidate; the default is the one with the lowest mean.
    """
    filled = np.where(np.isnan(scores), np.inf, scores)
    enough = min(2, scores.shape[1])
    best = int(np.argmin(filled.mean(-1))) if best is None else best
    if not np.isfinite(filled[best]).any():
        return False, False
    there = np.isfinite(filled[best])

    def worse(other: int) -> bool:
        both = there & ~np.isnan(scores[other])
        if both.sum() < enough:
            return False
        if not np.isfinite(filled[other][both]).all():
            return True
        difference = filled[other][both] - filled[best][both]
        error = difference.std(ddof=1) / len(difference) ** 0.5 if len(difference) > 1 else 0.0
        return bool(difference.mean() > error)

    return any(map(worse, range(best))), any(map(worse, range(best + 1, len(scores))))
