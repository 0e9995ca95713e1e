"""Time-reversal asymmetry: does a film of the trajectory look different when it runs backwards?"""

import numpy as np

from ..estimate import Estimate
from .stationary import stationary_mean

ASYMMETRY = "mean of x(t)^2 x(t+lag) - x(t) x(t+lag)^2 over the cubed standard deviation, x less its mean"


def time_asymmetries(trajectory: np.ndarray, lag: int) -> np.ndarray:
    """Return the time-reversal asymmetry of each coordinate, shape (coordinate,); 0 if no direction of time is preferred.

    It sees what is not symmetric about the mean, such as slow rises and steep falls, and nothing in a Gaussian series
    on its own, which is reversible whatever its spectrum. A Gaussian current that goes round in a plane is reversible in
    every coordinate: `critbatch.trajectories.circulation` sees that one. The trajectory must be stationary.

    Source: Ramsey and Rothman (1996), Journal of Money, Credit and Banking 28, 1-21 (symmetric bicovariance), here over
    the cubed standard deviation.

    Args:
        trajectory: Shape (time, coordinate).
        lag: Steps between the two times, at least 1.

    Returns:
        No unit; NaN for a coordinate that does not move.
    """
    standard = _standardised(trajectory, lag)
    return _cubes(standard, lag).mean(0)


def time_asymmetry_estimates(
    trajectory: np.ndarray, lag: int, *, level: float = 0.95, block: int | None = None
) -> tuple[Estimate, ...]:  # fmt: skip
    """Return `time_asymmetries` with intervals by `stationary_mean`, one for each coordinate.

    Args:
        trajectory: Shape (time, coordinate).
        lag: Steps between the two times, at least 1.
        level: Confidence level, of one coordinate.
        block: Steps in a block; None for a length that each series itself asks for.
    """
    standard = _standardised(trajectory, lag)
    cubes = _cubes(standard, lag)
    values = cubes.mean(0)
    # that the deviation is estimated pulls too; that the mean is does not, for a stationary series
    influences = cubes - 1.5 * values * (standard[:-lag] ** 2 - 1)
    return tuple(
        stationary_mean(float(value), one, level=level, unit="1", definition=ASYMMETRY, block=block)
        for value, one in zip(values, influences.T, strict=True)
    )


def _standardised(trajectory: np.ndarray, lag: int) -> np.ndarray:
    """Return the trajectory with mean 0 and variance 1; NaN where it does not move.

    Raises:
        ValueError: If it is too short for the lag.
    """
    values = np.asarray(trajectory, dtype=float)
    if values.ndim != 2 or not 1 <= lag < len(values):
        raise ValueError(
            f"time-reversal asymmetry at lag {lag} needs a trajectory of shape (time, coordinate) that is longer than the "
            f"lag, which is at least 1; got {values.shape}."
        )
    middle = values - values.mean(0)
    deviations = middle.std(0)
    return np.divide(middle, deviations, out=np.full(middle.shape, np.nan), where=deviations > 0)


def _cubes(standard: np.ndarray, lag: int) -> np.ndarray:
    before, after = standard[:-lag], standard[lag:]
    return before**2 * after - before * after**2
