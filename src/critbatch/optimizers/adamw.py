"""AdamW."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from typing_extensions import override

from ..optimizer import Optimizer


@final
@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay: parameters shrink by learning rate x weight decay a step.

    Source: Loshchilov and Hutter (2019), arXiv:1711.05101, Algorithm 2.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and self.epsilon > 0 and self.weight_decay >= 0):
            raise ValueError(f"`{self}`: betas must be in [0, 1), epsilon above 0, weight decay at least 0.")

    @property
    @override
    def first_learning_rate(self) -> float:
        return 2.0**-9

    @override
    def build(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            parameters,
            lr=learning_rate,
            betas=(self.beta1, self.beta2),
            eps=self.epsilon,
            weight_decay=self.weight_decay,
        )
