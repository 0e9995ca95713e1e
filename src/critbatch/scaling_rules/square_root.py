"""The learning rate grows as the square root of the batch size."""

from dataclasses import dataclass
from typing import final

import numpy as np
from typing_extensions import override

from ..scaling_rule import ScalingRule


@final
@dataclass(frozen=True)
class SquareRoot(ScalingRule):
    """The learning rate grows as the square root of the batch size, which keeps the covariance of an update.

    Source: Hoffer, Hubara and Soudry (2017), arXiv:1705.08741, Section 4.
    """

    @property
    @override
    def exponent(self) -> float:
        return 0.5

    @property
    @override
    def bends(self) -> bool:
        return False

    @override
    def log_rate(self, batch_sizes: np.ndarray, bend: float) -> np.ndarray:
        return 0.5 * np.log(batch_sizes)
