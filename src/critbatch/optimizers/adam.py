"""Adam."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from ..optimizer import Optimizer, check_clip_norm


@final
@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam; weight decay is the gradient of an L2 penalty (coupled).

    Source: Kingma and Ba (2015), arXiv:1412.6980, Algorithm 1.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float | None = None  # pyrefly: ignore  # read-only here

    def __post_init__(self) -> None:
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and self.epsilon > 0 and self.weight_decay >= 0):
            raise ValueError(f"`{self}`: betas must be in [0, 1), epsilon above 0, weight decay at least 0.")
        check_clip_norm(self)

    @property
    @override
    def first_learning_rate(self) -> float:
        return 2.0**-9

    @override
    def build(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.Adam(
            parameters,
            lr=learning_rate,
            betas=(self.beta1, self.beta2),
            eps=self.epsilon,
            weight_decay=self.weight_decay,
        )

    @property
    @override
    def slots(self) -> int:
        return 2

    @override
    def coefficients(self, learning_rate: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, ...]:
        return learning_rate / (1 - self.beta1**step), (1 - self.beta2**step) ** 0.5

    @override
    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], coefficients: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        if self.weight_decay:
            gradient = gradient + self.weight_decay * parameter
        first = slots[0] + (1 - self.beta1) * (gradient - slots[0])
        second = self.beta2 * slots[1] + (1 - self.beta2) * gradient * gradient
        return parameter - coefficients[0] * (first / (second.sqrt() / coefficients[1] + self.epsilon)), [first, second]
