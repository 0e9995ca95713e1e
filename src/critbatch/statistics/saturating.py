"""A quantity that rises with the batch size and saturates, and how much of it that describes."""

from dataclasses import dataclass
from typing import final

import numpy as np

FEWEST_POINTS = 4
SCALES = np.geomspace(1e-2, 1e6, 161)  # examples; of which the best is then refined


@final
@dataclass(frozen=True, eq=False)
class Saturating:
    """y = top / (1 + scale x), fitted to log y by least squares; arrays of shape (...,).

    Attributes:
        top: In the unit of y.
        scale: In the unit of 1/x: with x = 1/B - 1/N the noise scale, in examples.
        squares: Sum of squared residuals of log y.
        total: Sum of squares about the mean of log y.
        count: Points.
    """

    top: np.ndarray
    scale: np.ndarray
    squares: np.ndarray
    total: np.ndarray
    count: np.ndarray


def saturating(x: np.ndarray, y: np.ndarray) -> Saturating:
    """Return the fit of y = top / (1 + scale x) in logarithms; NaN where fewer than four points are known.

    Source: McCandlish et al. (2018), arXiv:1812.06162, Equations 2.6 to 2.8; with x = 1/B - 1/N instead of 1/B it
    is exact for batches drawn without replacement, up to the whole set.

    Args:
        x: Shape (point,), 0 or more.
        y: Shape (..., point), above 0; NaN where not known.
    """
    known = np.isfinite(y) & (np.where(np.isfinite(y), y, 0) > 0)
    logs = np.where(known, np.log(np.where(known, y, 1.0)), 0.0)
    count = known.sum(-1)
    coarse = np.broadcast_to(SCALES, (*y.shape[:-1], len(SCALES)))
    best = SCALES[np.argmin(_squares(x, logs, known, coarse)[0], axis=-1)]
    step = SCALES[1] / SCALES[0]
    fine = best[..., None] * np.geomspace(1 / step, step, 41)
    squares, tops = _squares(x, logs, known, fine)
    place = np.argmin(squares, axis=-1)[..., None]
    chosen = [np.take_along_axis(table, place, -1)[..., 0] for table in (tops, fine, squares)]
    mean = logs.sum(-1) / np.maximum(count, 1)
    total = np.where(known, (logs - mean[..., None]) ** 2, 0).sum(-1)
    enough = count >= FEWEST_POINTS
    top, scale, least, total = (np.where(enough, table, np.nan) for table in (np.exp(chosen[0]), *chosen[1:], total))
    return Saturating(top, scale, least, total, np.where(enough, count, 0))


def _squares(
    x: np.ndarray, logs: np.ndarray, known: np.ndarray, scales: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the squared residuals, and log top, for each of `scales` (..., scale)."""
    shape = np.log1p(scales[..., None] * x)
    here = known[..., None, :]
    tops = np.where(here, logs[..., None, :] + shape, 0).sum(-1) / np.maximum(here.sum(-1), 1)
    residuals = np.where(here, logs[..., None, :] - tops[..., None] + shape, 0)
    return (residuals**2).sum(-1), tops


def unexplained(fit: Saturating) -> np.ndarray:
    """Return the share of the variance of log y that fits leave unexplained: 1 minus it is R^2.

    Args:
        fit: Of shape (replicate, curve). Curves that lack points in some replicate are left out of all.

    Returns:
        Of all curves together, shape (replicate,); NaN where there is none.
    """
    kept = np.isfinite(fit.squares).all(0)
    squares, total = (table[:, kept].sum(-1) for table in (fit.squares, fit.total))
    return np.where(total > 0, squares / np.where(total > 0, total, 1), np.nan)
