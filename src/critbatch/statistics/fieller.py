"""The interval of a ratio of two means, which may be unbounded."""

from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.special import stdtrit


@final
@dataclass(frozen=True)
class RatioInterval:
    """The values of a ratio that the data do not exclude: `low` to `high`, None for an open end.

    Both ends None: the data exclude nothing on one side nor the other, the ratio is undetermined.
    """

    low: float | None
    high: float | None


def ratio_interval(numerators: np.ndarray, denominators: np.ndarray, level: float = 0.95) -> RatioInterval:
    """Return Fieller's confidence set for E[numerator] / E[denominator], from pairs.

    The set is all ratios r with |mean(n - r d)| <= t * standard error of mean(n - r d). It is bounded only if the mean
    denominator is itself away from 0 at this level; a delta-method interval would be bounded always, and wrong.

    Source: Fieller (1954), Journal of the Royal Statistical Society B 16, 175-185.

    Args:
        numerators: Shape (pair,), at least two.
        denominators: Shape (pair,).
        level: Confidence level.

    Raises:
        ValueError: If there are fewer than two pairs.
    """
    count = len(numerators)
    if count < 2:
        raise ValueError(f"`ratio_interval` needs at least 2 pairs to estimate their variance, got {count}.")
    top, bottom = numerators.mean(), denominators.mean()
    covariance = np.cov(numerators, denominators, ddof=1) / count
    squared = stdtrit(count - 1, (1 + level) / 2) ** 2
    # a r^2 - 2 b r + c <= 0
    a = bottom**2 - squared * covariance[1, 1]
    b = top * bottom - squared * covariance[0, 1]
    c = top**2 - squared * covariance[0, 0]
    discriminant = b**2 - a * c
    if a > 0:
        root = max(discriminant, 0.0) ** 0.5
        return RatioInterval(float((b - root) / a), float((b + root) / a))
    if discriminant <= 0 or a == 0:
        return RatioInterval(None, None)
    # the set is everything outside of two roots; of ratios above 0 it may still exclude the small ones
    left, right = sorted(((b - discriminant**0.5) / a, (b + discriminant**0.5) / a))
    return RatioInterval(float(right), None) if left <= 0 < right else RatioInterval(None, None)
