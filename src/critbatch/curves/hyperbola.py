"""Steps to target as a hyperbola in the batch size."""

from dataclasses import dataclass
from typing import final

import numpy as np
from typing_extensions import override

from ..curve import Curve


@final
@dataclass(frozen=True)
class Hyperbola(Curve):
    """S(B) = S_min + E_min / B, that is (S/S_min - 1)(E/E_min - 1) = 1 with E = B S.

    A straight line in 1/B, hence fitted by weighted linear least squares. Errors are relative: weights are 1/S^2, with S
    from a first fit, since weights from the observed steps would favour those that came out low. Coefficients are not
    forced above 0: where S_min comes out at or below 0 the data show no levelling-off.

    Source: McCandlish et al. (2018), arXiv:1812.06162, Equation 2.11.
    """

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return ("s_min", "e_min")

    @override
    def fit(self, batch_sizes: np.ndarray, steps: np.ndarray) -> np.ndarray:
        observed = np.asarray(steps, dtype=float)
        first = self._weighted(batch_sizes, observed, observed)
        fitted = self.steps(batch_sizes, first)
        return self._weighted(batch_sizes, observed, np.where(fitted > 0, fitted, observed))

    @staticmethod
    def _weighted(batch_sizes: np.ndarray, steps: np.ndarray, scale: np.ndarray) -> np.ndarray:
        inverse = 1 / np.asarray(batch_sizes, dtype=float)
        weights = 1 / scale**2
        one, first, second = (np.sum(weights * inverse**power, axis=-1) for power in (0, 1, 2))
        right, right_first = np.sum(weights * steps, axis=-1), np.sum(weights * steps * inverse, axis=-1)
        determinant = one * second - first**2
        s_min = (second * right - first * right_first) / determinant
        e_min = (one * right_first - first * right) / determinant
        return np.stack([s_min, e_min], axis=-1)

    @override
    def steps(self, batch_sizes: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        return coefficients[..., :1] + coefficients[..., 1:] / batch_sizes
