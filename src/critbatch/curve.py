"""How steps to target depend on the batch size, as a formula."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np

from .estimate import Estimate


class Curve(ABC):
    """A formula S(B) with coefficients to be fitted."""

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Return the coefficients' names, in order."""

    @abstractmethod
    def fit(self, batch_sizes: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Return the coefficients that minimise squared relative errors.

        Args:
            batch_sizes: Shape (point,), in examples; at least as many different ones as there are coefficients.
            steps: Shape (..., point), steps to target, finite and above 0: any number of data sets at once.

        Returns:
            Shape (..., coefficient).
        """

    @abstractmethod
    def steps(self, batch_sizes: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        """Return S(B), shape (..., point), at `batch_sizes` (point,) for `coefficients` (..., coefficient)."""


@final
@dataclass(frozen=True)
class Fit:
    """A curve fitted to steps to target, with what the data can and cannot carry.

    `identified` says whether the critical batch size has a value; `reason` says why not. `residual` is the root mean
    square relative error of the points; `band` lists (batch size, low, value, high) in steps for drawing.
    """

    curve: str
    s_min: Estimate
    e_min: Estimate
    critical_batch_size: Estimate
    critical_batch_size_20pct: Estimate
    identified: bool
    reason: str | None
    residual: float | None
    band: tuple[tuple[float, float | None, float, float | None], ...]
