"""The values of a ratio that an estimated numerator and denominator do not exclude."""

import numpy as np
from scipy.special import stdtrit


def ratio_set(
    top: float, bottom: float, covariance: np.ndarray, *, degrees: float, level: float = 0.95
) -> tuple[float | None, float | None]:
    """Return the ends of Fieller's confidence set for top / bottom, of ratios above 0; None for an open end.

    The set is all r with |top - r bottom| <= t * standard error of (top - r bottom). Where the denominator is not told
    apart from 0 it has no upper end, where the numerator is not, no lower one; both None: nothing is excluded.

    Source: Fieller (1954), Journal of the Royal Statistical Society B 16, 175-185.

    Args:
        top: Estimate of the numerator.
        bottom: Estimate of the denominator.
        covariance: Of the two, shape (2, 2), numerator first.
        degrees: Of freedom of the covariance.
        level: Confidence level.
    """
    squared = stdtrit(degrees, (1 + level) / 2) ** 2
    a = bottom**2 - squared * covariance[1, 1]  # a r^2 - 2 b r + c <= 0
    b = top * bottom - squared * covariance[0, 1]
    c = top**2 - squared * covariance[0, 0]
    discriminant = b**2 - a * c
    if not np.isfinite(discriminant):
        return None, None
    if a > 0:
        root = max(discriminant, 0.0) ** 0.5
        low, high = (b - root) / a, (b + root) / a
        return (float(low) if low > 0 else None), (float(high) if high > 0 else None)
    if discriminant <= 0 or a == 0:
        return None, None
    # the set is everything outside of two roots; of ratios above 0 it may still exclude the small ones
    left, right = sorted(((b - discriminant**0.5) / a, (b + discriminant**0.5) / a))
    return (float(right), None) if left <= 0 < right else (None, None)
