"""The learning rate of Adam-like optimizers: it rises, peaks and falls."""

from dataclasses import dataclass
from typing import final

import numpy as np
from typing_extensions import override

from ..scaling_rule import ScalingRule


@final
@dataclass(frozen=True)
class Surge(ScalingRule):
    """The learning rate that sign-like optimizers take best: eta_max / ((sqrt(B_n/B) + sqrt(B/B_n)) / 2).

    A square root far below the bend B_n, a peak there, and a fall beyond.

    Source: Li et al. (2024), arXiv:2405.14578.
    """

    @property
    @override
    def exponent(self) -> float:
        return 0.5

    @property
    @override
    def bends(self) -> bool:
        return True

    @override
    def log_rate(self, batch_sizes: np.ndarray, bend: float) -> np.ndarray:
        return -np.log(0.5 * (np.sqrt(bend / batch_sizes) + np.sqrt(batch_sizes / bend)))
