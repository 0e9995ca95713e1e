"""Resampling whole seeds: what belongs to one seed stays together."""

import numpy as np
from scipy.special import ndtr, stdtrit


def seed_draws(count: int, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Return indices of resampled seeds, shape (draws, count); the same draw is used for all batch sizes (paired)."""
    return generator.integers(count, size=(draws, count))


def expanded_interval(draws: np.ndarray, *, count: int, level: float = 0.95) -> tuple[float, float]:
    """Return the expanded percentile interval of bootstrap draws; infinite draws are kept and may be its ends.

    With few seeds the plain percentile interval is too narrow: by the factor sqrt((n - 1)/n), and by using the normal
    where Student's t is due. Expanding the percentiles corrects both.

    Source: Hesterberg (2015), arXiv:1411.5279, Section 4.4.

    Args:
        draws: Shape (draw,), no NaN.
        count: Number of independent seeds resampled, at least 2.
        level: Confidence level.
    """
    tail = ndtr(-((count / (count - 1)) ** 0.5) * stdtrit(count - 1, (1 + level) / 2))
    low, high = np.quantile(draws, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)
