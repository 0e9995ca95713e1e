"""The interval of a ratio of two means, which may be unbounded, on one side or on both."""

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


SKEWNESS_FROM = 5  # pairs; ours: the skewness of so few says nothing, see `_less_for_skewness`


def positive_ratio_interval(numerators: np.ndarray, denominators: np.ndarray, level: float = 0.95) -> RatioInterval:
    """Return a confidence set for E[numerator] / E[denominator] where both means are known to be 0 or more.

    Fieller's set does not know that. Near a denominator of 0 it is empty of positive ratios in up to 2.5% of studies;
    reporting "nothing is known" there instead makes a 95% interval cover 97.5% and more. This set is never empty, and
    covers as often as it says. Its end above is None where the ratio may be infinite.

    Source: Fieller (1954), Journal of the Royal Statistical Society B 16, 175-185, inside the physical region by the
    idea of Mandelkern and Schultz (2000), arXiv:hep-ex/9910041; see `positive_ratio_set`. Student's t in place of the
    normal; its one-sided quantile is corrected for the skewness of the pairs after Johnson (1978), Journal of the
    American Statistical Association 73, 536-544.

    Args:
        numerators: Shape (pair,), at least two.
        denominators: Shape (pair,).
        level: Confidence level.

    Raises:
        ValueError: If there are fewer than two pairs.
    """
    count = len(numerators)
    if count < 2:
        raise ValueError(f"`positive_ratio_interval` needs at least 2 pairs to estimate their variance, got {count}.")
    pairs = np.stack([numerators, denominators])
    means = pairs.mean(1)
    middle = pairs - means[:, None]
    covariance = middle @ middle.T / (count * (count - 1))
    one_sided, two_sided = (float(stdtrit(count - 1, tail)) for tail in (level, (1 + level) / 2))
    reach = _upper(means, covariance, one_sided)
    weighed = denominators if reach is None else denominators - numerators / reach
    one_sided = _less_for_skewness(one_sided, weighed)
    return positive_ratio_set(means, covariance, one_sided=one_sided, two_sided=max(two_sided, one_sided))


def positive_ratio_set(
    means: np.ndarray, covariance: np.ndarray, *, one_sided: float, two_sided: float
) -> RatioInterval:
    """Return the positive ratios r that two means do not exclude: an interval, open above where r may be infinite.

    With u(r) = top - r bottom and its standard error e(r), Fieller keeps r if |u| <= two_sided e. For ratios so large
    that this could exclude them from above only by a bottom below 0, which chance alone brings about (top < two_sided
    e), the lower side is never used, and the whole error is spent on the other: r is kept if -u <= one_sided e. What is
    excluded is decided for each r before the data are seen, hence no choice between one and two sides is made after.
    A bound from below, "r is above X", errs in half of the error only.

    Source: as `positive_ratio_interval`.

    Args:
        means: Shape (2,), top and bottom.
        covariance: Shape (2, 2), of these means.
        one_sided: Quantile of the studentised means that is exceeded with all of the error.
        two_sided: Quantile that is exceeded with half of it, not below `one_sided`.
    """
    top, bottom = means
    physical = np.array([top, max(bottom, 0.0)])
    low = _lower(physical, covariance, two_sided)
    switch = _lower(np.array([top, 0.0]), covariance, two_sided) or 0.0
    nearer, farther = _upper(means, covariance, one_sided), _upper(means, covariance, two_sided)
    if nearer is None:
        return RatioInterval(low, None)
    high = max(nearer, switch)
    return RatioInterval(low, high if farther is None else min(high, farther))


def _quadratic(means: np.ndarray, covariance: np.ndarray, quantile: float) -> tuple[float, float, float, float]:
    """Return a, b, c of a r^2 - 2 b r + c <= 0, which is |u(r)| <= quantile e(r), and the root of b^2 - a c."""
    (top, bottom), squared = means, quantile**2
    a = float(bottom**2 - squared * covariance[1, 1])
    b = float(top * bottom - squared * covariance[0, 1])
    c = float(top**2 - squared * covariance[0, 0])
    return a, b, c, max(b**2 - a * c, 0.0) ** 0.5


def _lower(means: np.ndarray, covariance: np.ndarray, quantile: float) -> float | None:
    """Return the smallest positive ratio not excluded; None where 0 is not, or everything is."""
    _, b, c, root = _quadratic(means, covariance, quantile)
    return c / (b + root) if c > 0 and b + root > 0 else None


def _upper(means: np.ndarray, covariance: np.ndarray, quantile: float) -> float | None:
    """Return the largest ratio not excluded; None where infinity is not."""
    a, b, _, root = _quadratic(means, covariance, quantile)
    return (b + root) / a if a > 0 and means[1] > 0 else None


def _less_for_skewness(quantile: float, values: np.ndarray) -> float:
    """Return the quantile that Student's statistic of skewed values exceeds as often as `quantile` that of normal ones.

    Squared norms are skewed to the right: the statistic then exceeds its quantile too seldom. The skewness of few
    values is itself uncertain, so its correction is shrunk to nothing for five (our choice).
    """
    count, middle = len(values), values - values.mean()
    spread = (middle**2).mean() ** 0.5
    if count <= SKEWNESS_FROM or spread == 0:
        return quantile
    skewness = (middle**3).mean() / spread**3 * (count * (count - 1)) ** 0.5 / (count - 2)
    correction = skewness * (2 * quantile**2 + 1) / (6 * count**0.5) * (1 - SKEWNESS_FROM / count)
    return max(float(quantile - correction), 0.0)
