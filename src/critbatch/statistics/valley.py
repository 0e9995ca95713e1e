"""The lowest point of a row of noisy scores, between the candidates."""

from dataclasses import dataclass
from typing import final

import numpy as np

WIDTH = 0.2  # of the weights, in log steps: a candidate that takes 1.22 times as many steps has weight 0.61
LEAST_WEIGHT = 0.02  # of the best one's neighbours
HALF_WAY = 0.5  # to a neighbour: beyond it, that one would be the best
RIDGE = 1e-9


@final
@dataclass(frozen=True, eq=False)
class Valley:
    """Where scores are lowest, and how low.

    Attributes:
        position: Shape (replicate,).
        height: Shape (replicate,).
        curved: Whether a parabola opening upwards was found between two neighbours that count, shape (replicate,); else
            the best candidate's own place stands for all that lie half way to its neighbours.
        spacing: Distance of the candidates around the best one.
    """

    position: np.ndarray
    height: np.ndarray
    curved: np.ndarray
    spacing: float


def valley(positions: np.ndarray, scores: np.ndarray, *, width: float = WIDTH) -> Valley:
    """Return the lowest point of a parabola through the scores, the low ones counting most.

    The smallest of several noisy scores lies below the smallest mean (the winner's curse), the more so the noisier they
    are; on a coarse grid it lies above the true minimum. The vertex of a parabola suffers from neither, and weights that
    fall off with the height above the best, exp(-(height / width)^2 / 2), keep far candidates, where no parabola fits,
    from bending it. It is kept within half the way to the best one's neighbours, and never goes towards one that does
    not count: beyond the last learning rate that trains nothing is known.

    Source: quadratic response surface, Box and Wilson (1951), Journal of the Royal Statistical Society B 13, 1-45; the
    weights are ours.

    Args:
        positions: Shape (candidate,), ascending: log learning rates.
        scores: Shape (replicate, candidate), lower is better: log steps. Infinite where a candidate does not count.
        width: Of the weights, in the unit of the scores.
    """
    best = np.argmin(scores, axis=-1)
    lowest = scores.min(-1)
    rows = np.arange(len(scores))
    left, right = np.maximum(best - 1, 0), np.minimum(best + 1, len(positions) - 1)
    spacing = (
        float((positions[right[0]] - positions[left[0]]) / max(right[0] - left[0], 1)) if len(positions) > 1 else 0.0
    )
    if len(positions) < 3 or not np.isfinite(lowest).all():
        at = np.where(np.isfinite(lowest), positions[best], np.nan)
        return Valley(at, lowest, np.zeros(len(scores), bool), spacing)
    x = (positions - positions[best][:, None]) / spacing
    above = scores - lowest[:, None]
    weights = np.where(np.isfinite(scores), np.exp(-0.5 * (np.where(np.isfinite(above), above, 0.0) / width) ** 2), 0.0)
    for side in (left, right):  # on a coarse grid the neighbours lie high, and the parabola still has to pass near them
        weights[rows, side] = np.where(
            np.isfinite(scores[rows, side]), np.maximum(weights[rows, side], LEAST_WEIGHT), 0.0
        )
    constant, slope, bend = _parabola(x, np.where(weights > 0, above, 0.0), weights)
    curved = (bend > 0) & (np.isfinite(scores).sum(-1) >= 3)
    bent = np.where(curved, bend, 1.0)
    beside = [np.isfinite(scores[rows, side]) for side in (left, right)]
    ends = [
        np.where(counts, HALF_WAY * np.abs(x[rows, side]), 0.0)
        for counts, side in zip(beside, (left, right), strict=True)
    ]
    step = np.where(curved, np.clip(-slope / (2 * bent), -ends[0], ends[1]), 0.0)
    height = np.where(curved, lowest + constant + slope * step + bend * step**2, lowest)
    return Valley(positions[best] + step * spacing, height, curved & beside[0] & beside[1], spacing)


def _parabola(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    moments = [(weights * x**power).sum(-1) for power in range(5)]
    matrix = np.stack([np.stack(moments[row : row + 3], -1) for row in range(3)], -2)
    right = np.stack([(weights * y * x**power).sum(-1) for power in range(3)], -1)
    solved = np.linalg.solve(matrix + RIDGE * np.eye(3), right[..., None])[..., 0]
    return solved[..., 0], solved[..., 1], solved[..., 2]
