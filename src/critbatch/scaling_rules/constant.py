"""The same learning rate at every batch size."""

from dataclasses import dataclass
from typing import final

import numpy as np
from typing_extensions import override

from ..scaling_rule import ScalingRule


@final
@dataclass(frozen=True)
class Constant(ScalingRule):
    """The same learning rate at every batch size."""

    @property
    @override
    def exponent(self) -> float:
        return 0.0

    @property
    @override
    def bends(self) -> bool:
        return False

    @override
    def log_rate(self, batch_sizes: np.ndarray, bend: float) -> np.ndarray:
        return np.zeros(np.shape(batch_sizes))
