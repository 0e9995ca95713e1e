"""Means of a few numbers, one a seed, with Student's interval."""

import numpy as np
from scipy.special import stdtrit

from ..estimate import Estimate


def mean_estimate(
    values: np.ndarray, *, unit: str, definition: str, level: float = 0.95, logarithmic: bool = False
) -> Estimate:
    """Return the mean over seeds with its Student-t interval.

    Source: Student (1908), Biometrika 6, 1-25.

    Args:
        values: Shape (seed,); above 0 if `logarithmic`.
        unit: Of the values.
        definition: What is averaged.
        level: Confidence level.
        logarithmic: Average logarithms: the result is a geometric mean with an interval that is symmetric in ratio.

    Returns:
        The estimate; without an interval for one value, missing for none and where a value is not finite.
    """
    count = len(values)
    if not count:
        return Estimate.missing("no run has a value", unit=unit, definition=definition, level=level)
    lost = count - int(np.isfinite(values).sum())
    if lost:
        reason = f"{lost} of {count} runs have a value that is not finite"
        return Estimate.missing(reason, unit=unit, definition=definition, level=level, count=count)
    numbers = np.log(values) if logarithmic else np.asarray(values, dtype=float)
    middle = numbers.mean()
    half = margin(numbers, level)
    method = "geometric mean over seeds, Student t" if logarithmic else "mean over seeds, Student t"
    ends = (middle, middle - half, middle + half)
    value, low, high = (float(np.exp(end) if logarithmic else end) for end in ends)
    bounded = bool(np.isfinite(half))
    return Estimate(value, low if bounded else None, high if bounded else None, level, count, unit, method, definition)


def margin(values: np.ndarray, level: float) -> float:
    """Return the half width of Student's interval for the mean of `values` (seed,); infinity for one value."""
    count = len(values)
    if count < 2:
        return float("inf")
    return float(stdtrit(count - 1, (1 + level) / 2) * values.std(ddof=1) / count**0.5)
