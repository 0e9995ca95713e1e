"""The increments x_{t+1} - x_t of a trajectory: power spectrum, autocorrelation, and how far they are from white noise."""

import numpy as np
from scipy.special import ndtri

from ..estimate import Estimate
from ..statistics.blocks import FEWEST_BLOCKS
from ..statistics.fieller import positive_ratio_interval

RATIO = "mean power of the increments below a frequency over their mean power at all frequencies"
LOWEST = 2  # taking a segment's mean off reaches into the frequency 1/segment under Hann's window, not into the next


def power_spectrum(trajectory: np.ndarray, *, segment: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Return frequencies and the power of the increments, averaged over coordinates, each of shape (frequency,).

    Hann windows that overlap by half, less their means. Power is two-sided: for white increments it is their variance
    at every frequency. Increments of a stationary trajectory have none near frequency 0, those of a random walk as much
    as elsewhere.

    Source: Welch (1967), IEEE Transactions on Audio and Electroacoustics 15, 70-73; Chaudhari and Soatto (2017),
    arXiv:1710.11029, look at the increments of SGD.

    Args:
        trajectory: Shape (time, coordinate).
        segment: Increments in a window: the frequencies are 2/segment, 3/segment, up to 1/2.

    Returns:
        Cycles per step, and coordinate squared.
    """
    powers = _powers(trajectory, segment, apart=segment // 2)
    return np.arange(LOWEST, segment // 2 + 1) / segment, powers.mean(0)


def low_frequency_power(
    trajectory: np.ndarray, *, below: float = 0.05, segment: int = 256, level: float = 0.95
) -> Estimate:  # fmt: skip
    """Return the power of the increments below a frequency over that at all frequencies; 1 for white noise.

    Above 1 the trajectory keeps its direction for longer than chance. That alone is coloured noise: momentum makes it,
    and it says nothing of loops (`critbatch.trajectories.circulation`). A stationary trajectory without memory in its
    steps, such as an Ornstein-Uhlenbeck process, is below 1.

    The interval takes segments as independent: they must be longer than the memory of the increments.

    Source: derived. Interval: `critbatch.statistics.fieller.positive_ratio_interval`, one pair a segment, no overlap.

    Args:
        trajectory: Shape (time, coordinate).
        below: Cycles per step, above 2/segment.
        segment: Increments in a segment.
        level: Confidence level.

    Raises:
        ValueError: If no frequency of a segment, or every one, is below `below`.
    """
    frequencies = np.arange(LOWEST, segment // 2 + 1) / segment
    low = frequencies < below
    if not low.any() or low.all():
        raise ValueError(
            f"`low_frequency_power(below={below}, segment={segment})`: frequencies run from {LOWEST / segment:.3g} to "
            "0.5, some must be below and some not. Choose another frequency or longer segments."
        )
    powers = _powers(trajectory, segment, apart=segment)
    count = len(powers)
    facts = {"unit": "1", "definition": RATIO, "level": level, "count": count}
    if count < FEWEST_BLOCKS:
        return Estimate.missing(f"{count} segments of {segment} increments, {FEWEST_BLOCKS} are needed", **facts)
    top, bottom = powers[:, low].mean(1), powers.mean(1)
    found = positive_ratio_interval(top, bottom, level)
    if found.high is None or bottom.mean() <= 0:
        return Estimate.missing("the power of the increments is not told apart from 0", **facts)
    value = float(top.mean() / bottom.mean())
    return Estimate(value=value, low=found.low or 0.0, high=found.high, method="ratio of means, Fieller", **facts)


def _powers(trajectory: np.ndarray, segment: int, *, apart: int) -> np.ndarray:
    """Return the power of each segment, averaged over coordinates, shape (segment, frequency from LOWEST/segment).

    Raises:
        ValueError: If there is not one segment.
    """
    increments = np.diff(np.asarray(trajectory, dtype=float), axis=0)
    if not 2 * LOWEST <= segment <= len(increments):
        raise ValueError(
            f"segments of {segment} increments: they must hold at least {2 * LOWEST}, and the trajectory has "
            f"{len(increments)}. Choose shorter ones, or follow it for longer."
        )
    window = np.sin(np.pi * np.arange(segment) / segment) ** 2
    found = []
    for start in range(0, len(increments) - segment + 1, apart):
        piece = increments[start : start + segment]
        turned = np.fft.rfft(window[:, None] * (piece - piece.mean(0)), axis=0)[LOWEST:]
        found.append((np.abs(turned) ** 2).mean(1) / (window**2).sum())
    return np.array(found)


def increment_autocorrelation(trajectory: np.ndarray, most_lag: int) -> np.ndarray:
    """Return the autocorrelation of each coordinate's increments at lags 1 to `most_lag`, shape (lag, coordinate).

    Shuffled epochs alone make it negative at short lags, and so does any stationary trajectory: beyond the band is not
    white, and need not be periodic.

    Args:
        trajectory: Shape (time, coordinate).
        most_lag: Below the number of increments.

    Returns:
        NaN for a coordinate that moves evenly or not at all.

    Raises:
        ValueError: If there are too few increments.
    """
    increments = np.diff(np.asarray(trajectory, dtype=float), axis=0)
    if not 1 <= most_lag < len(increments):
        raise ValueError(
            f"`increment_autocorrelation(most_lag={most_lag})`: the trajectory has {len(increments)} increments, lags "
            f"must be 1 to {len(increments) - 1}."
        )
    middle = increments - increments.mean(0)
    squares = (middle**2).sum(0)
    products = np.array([(middle[lag:] * middle[:-lag]).sum(0) for lag in range(1, most_lag + 1)])
    return np.divide(products, squares, out=np.full(products.shape, np.nan), where=squares > 0)


def white_band(count: int, *, level: float = 0.99) -> float:
    """Return how far from 0 an autocorrelation of `count` white numbers stays with probability `level`, at one lag.

    Source: Bartlett (1946), Supplement to the Journal of the Royal Statistical Society 8, 27-41: 1/sqrt(n) is its
    standard error. 99% as Chaudhari and Soatto (2017), arXiv:1710.11029.
    """
    return float(ndtri((1 + level) / 2) / count**0.5)
