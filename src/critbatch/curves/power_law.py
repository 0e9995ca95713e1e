"""Steps to target as a power of the batch size, without a bend."""

from dataclasses import dataclass
from typing import final

import numpy as np
from typing_extensions import override

from ..curve import Curve


@final
@dataclass(frozen=True)
class PowerLaw(Curve):
    """S(B) = S_1 B^p: no levelling-off at all. p = -1 is perfect scaling. A straight line in logarithms."""

    @property
    @override
    def names(self) -> tuple[str, ...]:
        return ("s_1", "power")

    @override
    def fit(self, batch_sizes: np.ndarray, steps: np.ndarray) -> np.ndarray:
        x, y = np.log(np.asarray(batch_sizes, dtype=float)), np.log(np.asarray(steps, dtype=float))
        centred = x - x.mean()
        power = (y * centred).sum(-1) / (centred**2).sum()
        return np.stack([np.exp(y.mean(-1) - power * x.mean()), power], axis=-1)

    @override
    def steps(self, batch_sizes: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
        return coefficients[..., :1] * np.asarray(batch_sizes, dtype=float) ** coefficients[..., 1:]
