"""Steps to target as a hyperbola with a sharper or a softer bend."""

from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.optimize import least_squares
from typing_extensions import override

from ..curve import Curve

LARGEST_SHARPNESS = 20.0  # beyond it the bend is a corner, as far as any data can tell


@final
@dataclass(frozen=True)
class GeneralisedHyperbola(Curve):
    """S(B) = S_min (1 + (B_c/B)^g)^(1/g) with E_min = S_min B_c: the hyperbola at g = 1, two straight lines as g grows.

    Both ends are the hyperbola's; the sharpness g says how fast the curve turns from one to the other. Where g = 1 is
    excluded the hyperbola is misspecified and E_min/S_min rests on the ends alone. Fitted to log S by least squares.
    """

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return ("s_min", "e_min", "sharpness")

    @override
    def fit(self, batch_sizes: np.ndarray, steps: np.ndarray) -> np.ndarray:
        sizes = np.log(np.asarray(batch_sizes, dtype=float))
        logs = np.log(np.atleast_2d(np.asarray(steps, dtype=float)))
        first = self._one(sizes, logs[0], np.array([logs[0].min(), (logs[0] + sizes).min(), 0.0]))
        found = np.array([first] + [self._one(sizes, row, first) for row in logs[1:]])
        return np.exp(found).reshape(*np.shape(steps)[:-1], 3)

    @staticmethod
    def _one(sizes: np.ndarray, logs: np.ndarray, start: np.ndarray) -> np.ndarray:
        far = np.log(LARGEST_SHARPNESS)

        def residuals(x: np.ndarray) -> np.ndarray:  # x: log s_min, log e_min, log sharpness
            return _log_steps(sizes, x[:1], x[1:2], np.exp(x[2:])) - logs

        begin = np.append(start[:2], np.clip(start[2], -0.9 * far, 0.9 * far))
        wide = ([logs.min() - 20, logs.min() - 20, -far], [logs.max() + 20, logs.max() + sizes.max() + 20, far])
        return least_squares(residuals, begin, bounds=wide, xtol=1e-9, ftol=1e-9, gtol=1e-9).x

    @override
    def steps(self, batch_sizes: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        s_min, e_min, sharpness = (np.asarray(coefficients)[..., index : index + 1] for index in range(3))
        return np.exp(_log_steps(np.log(batch_sizes), np.log(s_min), np.log(e_min), sharpness))


def _log_steps(sizes: np.ndarray, s_min: np.ndarray, e_min: np.ndarray, sharpness: np.ndarray) -> np.ndarray:
    return s_min + np.logaddexp(0.0, sharpness * (e_min - s_min - sizes)) / sharpness
