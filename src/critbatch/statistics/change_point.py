"""One change point of a series: where its mean jumps, or where a line breaks, and whether chance would do as much."""

from dataclasses import dataclass
from typing import final

import numpy as np

PERMUTATIONS = 999


@final
@dataclass(frozen=True)
class MeanChange:
    """Two means, one after the other.

    Attributes:
        place: Index of the first value of the second.
        before: Mean of the values before.
        after: Mean of the others.
        p_value: Of the hypothesis that there is no change.
    """

    place: int
    before: float
    after: float
    p_value: float

    @property
    def drop(self) -> float:
        """Return by how much the mean falls; below 0 where it rises."""
        return self.before - self.after


@final
@dataclass(frozen=True)
class BrokenLine:
    """Two lines that meet. For logarithms of both axes: two powers.

    Attributes:
        place: Index of the point where they meet.
        before: Slope up to there.
        after: Slope from there on.
        drop: By how much the line falls from there to the last point; below 0 where it rises.
        p_value: Of the hypothesis that the line does not break.
    """

    place: int
    before: float
    after: float
    drop: float
    p_value: float


def mean_change(
    values: np.ndarray, *, generator: np.random.Generator | None, fewest: int = 3
) -> MeanChange:  # fmt: skip
    """Return the least squares place at which the mean of a series changes, over all places.

    The p-value is that of the largest F over all places among 999 permutations of the series: exact where the values are
    exchangeable without a change. A trend or a memory is then taken for a change.

    Source: Andrews (1993), Econometrica 61, 821-856 (supremum over places); permutations for its distribution.

    Args:
        values: Shape (time,); logarithms, where a factor is meant.
        generator: Of the permutations; None for the place alone, with a p-value of NaN.
        fewest: Values on either side.

    Raises:
        ValueError: If there are too few values for that, or one is not finite.
    """
    series = _checked(values, fewest)
    places = np.arange(fewest, len(series) - fewest + 1)
    steps = (np.arange(len(series)) >= places[:, None]).astype(float)
    best, p_value = _best(series, np.ones((len(series), 1)), steps, generator)
    place = int(places[best])
    return MeanChange(place, float(series[:place].mean()), float(series[place:].mean()), p_value)


def broken_line(
    positions: np.ndarray, values: np.ndarray, *, generator: np.random.Generator, fewest: int = 3
) -> BrokenLine:  # fmt: skip
    """Return the least squares line that breaks once, at one of the points, over all of them.

    The p-value compares the largest F over all places with that of 999 permutations of the residuals of a straight line:
    nearly exact where these are exchangeable. A curve without a corner, or errors with a memory, is taken for a break.

    Source: Hinkley (1971), Journal of the American Statistical Association 66, 736-743; supremum as `mean_change`;
    permutation of residuals: Freedman and Lane (1983), Journal of Business and Economic Statistics 1, 292-298.

    Args:
        positions: Shape (point,), ascending; logarithms, where powers are meant.
        values: Shape (point,), likewise.
        generator: Of the permutations.
        fewest: Points on either side of the break, itself not counted.

    Raises:
        ValueError: If there are too few points for that, or the positions do not ascend.
    """
    series, x = _checked(values, fewest), np.asarray(positions, dtype=float)
    if len(x) != len(series) or not (np.diff(x) > 0).all():
        raise ValueError(
            f"`broken_line`: {len(x)} positions for {len(series)} values; give as many, each above the one before it."
        )
    places = np.arange(fewest, len(series) - fewest)
    line = np.stack([np.ones(len(x)), x], 1)
    hinges = np.maximum(x - x[places, None], 0)
    best, p_value = _best(series, line, hinges, generator)
    place = int(places[best])
    _, before, more = np.linalg.lstsq(np.column_stack([line, hinges[best]]), series, rcond=None)[0]
    after = float(before + more)
    return BrokenLine(place, float(before), after, after * float(x[place] - x[-1]), p_value)


def _best(
    series: np.ndarray, fixed: np.ndarray, candidates: np.ndarray, generator: np.random.Generator | None
) -> tuple[int, float]:  # fmt: skip
    """Return which candidate regressor explains most beyond the fixed ones, and the p-value of its F.

    F grows with the share of the residual squares that the candidate takes away, which is compared in its place.

    Args:
        series: Shape (time,).
        fixed: Shape (time, regressor).
        candidates: Shape (place, time).
        generator: Of permutations of the residuals; None for a p-value of NaN.
    """
    axes = np.linalg.qr(fixed)[0]
    residual = series - axes @ (axes.T @ series)
    beyond = candidates - (candidates @ axes) @ axes.T
    beyond /= np.linalg.norm(beyond, axis=1, keepdims=True)
    if residual @ residual <= (1e-12 * len(series) * np.abs(series).max()) ** 2:
        return 0, 1.0  # nothing but rounding is left to explain
    if generator is None:
        return int(((residual @ beyond.T) ** 2).argmax()), np.nan
    drawn = generator.permuted(np.tile(residual, (PERMUTATIONS, 1)), axis=1)
    rows = np.vstack([residual, drawn - (drawn @ axes) @ axes.T])
    shares = (rows @ beyond.T) ** 2 / (rows**2).sum(1, keepdims=True)
    largest = shares.max(1)
    return int(shares[0].argmax()), float((largest >= largest[0] * (1 - 1e-12)).mean())


def _checked(values: np.ndarray, fewest: int) -> np.ndarray:
    """Return a series in double precision.

    Raises:
        ValueError: If it is too short or not finite.
    """
    series = np.asarray(values, dtype=float)
    if fewest < 1 or len(series) < 2 * fewest + 2 or not np.isfinite(series).all():
        raise ValueError(
            f"a change with at least {fewest} values on either side needs {2 * fewest + 2} finite ones, and at least 1 on "
            f"either side; got {len(series)}, {int((~np.isfinite(series)).sum())} of them not finite."
        )
    return series
