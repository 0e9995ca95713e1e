"""The learning rate grows in proportion to the batch size."""

from dataclasses import dataclass
from typing import final

import numpy as np
from typing_extensions import override

from ..scaling_rule import ScalingRule


@final
@dataclass(frozen=True)
class Linear(ScalingRule):
    """The learning rate grows in proportion to the batch size, which keeps the progress per example.

    Source: Goyal et al. (2017), arXiv:1706.02677, Section 2.1.
    """

    @property
    @override
    def exponent(self) -> float:
        return 1.0

    @property
    @override
    def bends(self) -> bool:
        return False

    @override
    def log_rate(self, batch_sizes: np.ndarray, bend: float) -> np.ndarray:
        return np.log(batch_sizes)
