"""Replicates of an estimate: what it would have been without each seed, or with seeds drawn anew; and intervals from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.special import ndtr, stdtrit

from ..estimate import Estimate

FAR = 300.0  # a logarithm that no quantity here can have


@final
@dataclass(frozen=True)
class Group:
    """Replicates that share one independent source of noise.

    Attributes:
        rows: Which replicates; row 0 is always the estimate from everything.
        factor: By which the sum of squared differences is multiplied to give a variance.
        degrees: Of freedom of that variance.
        about_mean: Whether differences are taken from the group's mean (jackknife) or from row 0 (a shift by one
            standard error).
    """

    rows: slice
    factor: float
    degrees: float
    about_mean: bool = True


def leave_one_out(counts: Sequence[int], *, paired: bool) -> tuple[list[np.ndarray], tuple[Group, ...]]:
    """Return weights of seeds that leave out one at a time, and how to read the replicates that they make.

    Paired seeds leave every batch size at once: what a seed does to all of them alike then stays together. Seeds that
    are not paired leave one batch size at a time, and variances add up.

    Source: delete-one jackknife, Tukey (1958), Annals of Mathematical Statistics 29, 614.

    Args:
        counts: Seeds at each batch size; all the same if `paired`.
        paired: Whether seed i is the same randomness at every batch size.

    Returns:
        For each batch size its weights, shape (replicate, seed), row 0 all ones; and the groups.
    """
    if paired:
        count = counts[0]
        if count == 1:
            return [np.ones((1, 1))] * len(counts), ()
        weights = np.vstack([np.ones(count), 1 - np.eye(count)])
        return [weights] * len(counts), (Group(slice(1, count + 1), (count - 1) / count, count - 1),)
    total = 1 + sum(counts)
    found, groups, start = [], [], 1
    for count in counts:
        weights = np.ones((total, count))
        if count > 1:
            weights[start : start + count] -= np.eye(count)
        found.append(weights)
        if count > 1:
            groups.append(Group(slice(start, start + count), (count - 1) / count, count - 1))
        start += count
    return found, tuple(groups)


def covariance(values: np.ndarray, groups: Sequence[Group]) -> tuple[np.ndarray, float]:
    """Return the covariance of what replicates estimate, and its degrees of freedom (Satterthwaite's, for several groups).

    Args:
        values: Shape (replicate, quantity), or (replicate,) for one; row 0 from everything.
        groups: Which rows belong together.

    Returns:
        Shape (quantity, quantity), and the degrees of freedom, of the first quantity's variance.
    """
    table = values.reshape(len(values), -1)
    parts = []
    for group in groups:
        rows = table[group.rows]
        apart = rows - (rows.mean(0) if group.about_mean else table[0])
        parts.append(group.factor * apart.T @ apart)
    whole = np.sum(parts, axis=0)
    first = np.array([part[0, 0] for part in parts])
    shares = sum(part**2 / group.degrees for part, group in zip(first, groups, strict=True))
    return whole, float(first.sum() ** 2 / shares) if shares > 0 else float(sum(group.degrees for group in groups))


def margin_of(values: np.ndarray, groups: Sequence[Group], level: float, more: float = 0.0) -> float:
    """Return the half width of Student's interval for what replicates (replicate,) estimate; infinite if unknown.

    Args:
        values: Row 0 from everything.
        groups: Which rows belong together.
        level: Confidence level.
        more: A variance that the replicates do not show, to be added.
    """
    if not groups or not np.isfinite(values).all():
        return float("inf")
    variance, degrees = covariance(values, groups)
    return float(stdtrit(degrees, (1 + level) / 2) * (variance[0, 0] + more) ** 0.5)


def replicate_estimate(  # noqa: PLR0913
    values: np.ndarray, groups: Sequence[Group], *, level: float, count: int, unit: str, method: str, definition: str,
    logarithmic: bool = False, more: float = 0.0,
) -> Estimate:  # fmt: skip
    """Return the estimate of row 0 with Student's interval from the replicates' spread.

    Args:
        values: Shape (replicate,); logarithms of the quantity if `logarithmic`.
        groups: Which rows belong together.
        level: Confidence level.
        count: Independent seeds.
        unit: Of the quantity.
        method: In words.
        definition: In words.
        logarithmic: Whether to turn the logarithms back.
        more: A variance that the replicates do not show, to be added.
    """
    half = margin_of(values, groups, level, more)
    facts = {"unit": unit, "definition": definition, "level": level, "count": count, "method": method}
    ends = [values[0], values[0] - half, values[0] + half]
    if logarithmic and not np.abs(ends[0] if np.isinf(half) else ends).max() < FAR:
        return Estimate.missing("not resolved: its interval spans all magnitudes", **facts)
    number, low, high = (float(np.exp(end)) if logarithmic else float(end) for end in ends)
    if not np.isfinite(half):
        return Estimate(number, None, None, level, count, unit, method, definition)
    return Estimate(number, low, high, level, count, unit, method, definition)


def drawn_weights(count: int, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Return how often each seed is drawn in a bootstrap, shape (draw + 1, count); row 0 holds every seed once."""
    drawn = generator.multinomial(count, np.full(count, 1 / count), size=draws)
    return np.vstack([np.ones(count), drawn])


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


def replicated(values: np.ndarray) -> np.ndarray:
    """Return the mean over seeds, then the mean without each seed, shape (replicate, ...), for values (seed, ...).

    With a single seed the mean alone. `seed_groups` says how to read them.
    """
    weights, _ = leave_one_out([len(values)], paired=True)
    return np.tensordot(weights[0] / weights[0].sum(1, keepdims=True), values, axes=1)


def seed_groups(count: int) -> tuple[Group, ...]:
    """Return how to read the replicates of `replicated` for `count` seeds; none for a single one."""
    return leave_one_out([count], paired=True)[1]
