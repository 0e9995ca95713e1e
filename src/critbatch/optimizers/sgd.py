"""Stochastic gradient descent."""

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
class SGD(Optimizer):
    """SGD with heavy-ball or Nesterov momentum; weight decay is the gradient of an L2 penalty (coupled)."""

    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    clip_norm: float | None = None  # pyrefly: ignore  # read-only here

    def __post_init__(self) -> None:
        if not (0 <= self.momentum < 1 and self.weight_decay >= 0):
            raise ValueError(
                f"`SGD(momentum={self.momentum}, weight_decay={self.weight_decay})`: momentum must be in [0, 1) and "
                "weight decay at least 0."
            )
        if self.nesterov and not self.momentum:
            raise ValueError("`SGD(nesterov=True, momentum=0)`: Nesterov needs momentum above 0, for example 0.9.")
        check_clip_norm(self)

    @property
    @override
    def first_learning_rate(self) -> float:
        return 0.125 * (1 - self.momentum)

    @override
    def build(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameters,
            lr=learning_rate,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
        )

    @property
    @override
    def slots(self) -> int:
        return 1 if self.momentum else 0

    @override
    def coefficients(self, learning_rate: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, ...]:
        return (learning_rate,)

    @override
    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], coefficients: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        if self.weight_decay:
            gradient = gradient + self.weight_decay * parameter
        kept = [self.momentum * velocity + gradient for velocity in slots]
        direction = gradient + self.momentum * kept[0] if self.nesterov else (kept or [gradient])[0]
        return parameter - coefficients[0] * direction, kept
