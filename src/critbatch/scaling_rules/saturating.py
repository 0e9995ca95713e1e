"""The learning rate grows linearly at first, then levels off."""

from dataclasses import dataclass
from typing import final

import numpy as np
from typing_extensions import override

from ..scaling_rule import ScalingRule


@final
@dataclass(frozen=True)
class Saturating(ScalingRule):
    """The learning rate of SGD that lowers the loss most in one step: eta_max / (1 + B_noise/B).

    Linear far below the noise scale B_noise, constant far above it; the bend is B_noise.

    Source: McCandlish et al. (2018), arXiv:1812.06162, Equation 2.6.
    """

    @property
    @override
    def exponent(self) -> float:
        return 1.0

    @property
    @override
    def bends(self) -> bool:
        return True

    @override
    def log_rate(self, batch_sizes: np.ndarray, bend: float) -> np.ndarray:
        return -np.log1p(bend / np.asarray(batch_sizes, dtype=float))
