"""Two treatments tried with the same seeds: their difference, and what may be said of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.special import bdtr, stdtr, stdtrit

POWER = 0.8
DRAWS = 2000
ROUNDING = 1e-12  # of the differences: a spread below is none


@final
@dataclass(frozen=True)
class Difference:
    """A mean paired difference and its tests, in the unit of the values.

    Attributes:
        mean: Of the differences by seed.
        low: Of Student's interval; None with one seed. Likewise `high`.
        bootstrap_low: Of the bootstrap-t interval; None with fewer than 4 seeds. Likewise `bootstrap_high`.
        t_p: Two-sided p-value of Student's test that the mean is 0.
        sign_p: Two-sided p-value of the exact sign test: 5 seeds cannot bring it below 0.0625.
        equivalence_p: p-value of the two one-sided tests that the mean lies outside the margin.
        detectable: The smallest true difference that Student's test would have found four times in five.
        count: Seeds.
    """

    mean: float
    low: float | None
    high: float | None
    bootstrap_low: float | None
    bootstrap_high: float | None
    t_p: float
    sign_p: float
    equivalence_p: float
    detectable: float | None
    count: int


def paired_difference(
    differences: np.ndarray, *, equivalence_margin: float, level: float = 0.95, bootstrap: bool = False
) -> Difference:
    """Return the mean of paired differences (seed,) with its intervals and tests.

    Sources: Student (1908), Biometrika 6, 1-25; bootstrap-t: Efron and Tibshirani (1993), An Introduction to the
    Bootstrap, Section 12.5; two one-sided tests: Schuirmann (1987), Journal of Pharmacokinetics and Biopharmaceutics
    15, 657-680.

    Args:
        differences: Shape (seed,), finite.
        equivalence_margin: Within which differences count as none; fixed before the data are seen.
        level: Confidence level of the intervals.
        bootstrap: Whether to draw the bootstrap-t interval.
    """
    values = np.asarray(differences, dtype=float)
    count, mean = len(values), float(values.mean())
    sign_p = sign_test(values)
    if count < 2:
        return Difference(mean, None, None, None, None, 1.0, sign_p, 1.0, None, count)
    error = float(values.std(ddof=1)) / count**0.5
    if error < ROUNDING * np.abs(values).max():
        error = 0.0
    free = count - 1
    half = float(stdtrit(free, (1 + level) / 2)) * error
    drawn = _bootstrap_t(values, level) if bootstrap and count > 3 and error > 0 else (None, None)
    detectable = float(stdtrit(free, (1 + level) / 2) + stdtrit(free, POWER)) * error
    return Difference(
        mean, mean - half, mean + half, *drawn, _two_sided(mean, error, free), sign_p,
        max(_upper_tail(mean + equivalence_margin, error, free), _upper_tail(equivalence_margin - mean, error, free)),
        detectable, count,
    )  # fmt: skip


def _two_sided(mean: float, error: float, free: int) -> float:
    if error == 0:
        return 0.0 if mean else 1.0
    return float(2 * stdtr(free, -abs(mean) / error))


def _upper_tail(distance: float, error: float, free: int) -> float:
    """Return the p-value of the hypothesis that the true distance from the margin is 0 or less."""
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stdtr(free, -distance / error))


def _bootstrap_t(values: np.ndarray, level: float) -> tuple[float, float]:
    count = len(values)
    error = values.std(ddof=1) / count**0.5
    draws = values[np.random.default_rng(0).integers(count, size=(DRAWS, count))]
    errors = draws.std(axis=1, ddof=1) / count**0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        statistics = np.where(
            errors > 0, (draws.mean(1) - values.mean()) / errors, np.inf * np.sign(draws.mean(1) - values.mean())
        )
    statistics = statistics[~np.isnan(statistics)]
    low, high = np.quantile(statistics, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
    return float(values.mean() - high * error), float(values.mean() - low * error)


def sign_test(differences: np.ndarray) -> float:
    """Return the two-sided p-value of the exact sign test of differences (seed,); ties are left out.

    Source: Dixon and Mood (1946), Journal of the American Statistical Association 41, 557-566.
    """
    above, below = int((differences > 0).sum()), int((differences < 0).sum())
    if above + below == 0:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(above, below), above + below, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number: those below 0.05 are wrong together at most one time in twenty.

    Source: Holm (1979), Scandinavian Journal of Statistics 6, 65-70.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def best_of(scores: np.ndarray) -> np.ndarray:
    """Return the expected best (largest) of n = 1, 2, ... scores drawn without replacement, shape (trial,).

    What a tuning budget of n trials would have found: comparing batch sizes at equal n is fair, whatever was tried.

    Source: Dodge et al. (2019), arXiv:1909.03004, in its unbiased form, sum of v_(i) C(i-1, n-1) / C(N, n).

    Args:
        scores: Shape (trial,), finite, higher is better.
    """
    ranked = np.sort(np.asarray(scores, dtype=float))
    total = len(ranked)
    found = []
    share = np.full(total, 1 / total)  # of n = 1: the chance that the i-th smallest is the best of n
    for drawn in range(1, total + 1):
        found.append(float((ranked * share).sum()))
        rank = np.arange(total)
        share = share * np.maximum(rank - drawn + 1, 0) / drawn * (drawn + 1) / max(total - drawn, 1)
    return np.array(found)
