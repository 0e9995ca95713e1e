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
class Shape:
    """A formula beside the fitted one: its parameters, its AICc, and by how much that is above the best one's."""

    name: str
    parameters: int
    aicc: float
    delta: float


@final
@dataclass(frozen=True)
class Fit:
    """A curve fitted to steps to target, with what the data can and cannot carry.

    Attributes:
        identified: Whether the critical batch size has a value; `reason` says why not.
        residual: Root mean square error of log steps.
        band: (batch size, low, value, high) in steps, for drawing.
        shapes: Other formulas through the same points, the preferred one first.
        sharpness: Of the bend where it is free: 1 for the hyperbola.
        misspecified: In words how the data contradict the curve, or None if they do not.
        censored: Batch sizes that never reached the target and count as "more steps than seen".
        bootstrap: The critical batch size with a bootstrap interval, beside the one that is reported.
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
    shapes: tuple[Shape, ...] = ()
    sharpness: Estimate | None = None
    misspecified: str | None = None
    censored: tuple[int, ...] = ()
    bootstrap: Estimate | None = None
