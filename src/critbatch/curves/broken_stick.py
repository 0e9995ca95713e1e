"""Steps to target as perfect scaling up to a corner, and none beyond."""

from dataclasses import dataclass
from typing import final

import numpy as np
from typing_extensions import override

from ..curve import Curve


@final
@dataclass(frozen=True)
class BrokenStick(Curve):
    """S(B) = max(S_min, E_min/B): perfect scaling up to B = E_min/S_min, then no gain at all.

    The shape that many texts draw. Fitted to log S by least squares, over every place where the corner can lie.
    """

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return ("s_min", "e_min")

    @override
    def fit(self, batch_sizes: np.ndarray, steps: np.ndarray) -> np.ndarray:
        order = np.argsort(batch_sizes)
        x, y = np.log(np.asarray(batch_sizes, dtype=float))[order], np.log(np.asarray(steps, dtype=float))[..., order]
        found, least = np.empty((*y.shape[:-1], 2)), np.full(y.shape[:-1], np.inf)
        for corner in range(1, len(x)):
            logs = np.stack([y[..., corner:].mean(-1), (y + x)[..., :corner].mean(-1)], axis=-1)
            wrong = ((np.maximum(logs[..., :1], logs[..., 1:] - x) - y) ** 2).sum(-1)
            better = wrong < least
            found = np.where(better[..., None], logs, found)
            least = np.where(better, wrong, least)
        return np.exp(found)

    @override
    def steps(self, batch_sizes: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        return np.maximum(coefficients[..., :1], coefficients[..., 1:] / batch_sizes)
