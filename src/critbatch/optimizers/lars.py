"""LARS."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from ..optimizer import Optimizer, check_clip_norm

try:
    from pytorch_optimizer import LARS as REFERENCE
except ImportError:  # `build` alone needs it, and says so
    REFERENCE = None


@final
@dataclass(frozen=True)
class LARS(Optimizer):
    """SGD with momentum, whose step is in each layer a set part of the norm of that layer's weights.

    The gradient of a layer, its weight decay included, is multiplied by trust |w| / (|g| + weight decay |w|) before it
    enters the momentum; where one of the norms is 0, by 1. As the reference has it, that is done to parameters of two
    axes or more: biases and the parameters of normalisation follow plain SGD, without weight decay. The learning rate is
    applied to the momentum, not inside it as in the paper: the same unless the rate changes.

    Source: You, Gitman and Ginsburg (2017), arXiv:1708.03888, Algorithm 1.

    Attributes:
        momentum: Heavy ball.
        weight_decay: Of parameters of two axes or more.
        trust: How far a step may go, as a part of the weights' norm, at a learning rate of 1. The paper's is 0.001, at
            learning rates up to 32; since biases take the learning rate as it is, ours wants rates like those of SGD.
        clip_norm: Of the gradient before the rule.
    """

    momentum: float = 0.9
    weight_decay: float = 0.0
    trust: float = 0.02
    clip_norm: float | None = None  # pyrefly: ignore  # read-only here

    def __post_init__(self) -> None:
        if not (0 <= self.momentum < 1 and 0 <= self.weight_decay < np.inf and 0 < self.trust < np.inf):
            raise ValueError(
                f"`{self}`: momentum must be in [0, 1), weight decay at least 0, trust above 0, and all finite."
            )
        check_clip_norm(self)

    @property
    @override
    def first_learning_rate(self) -> float:
        return 0.25 * (1 - self.momentum)

    @override
    def build(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        if REFERENCE is None:
            raise ImportError("pytorch_optimizer is not installed. Run: pip install 'critbatch[large-batch]'")
        return REFERENCE(
            parameters,
            lr=learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            trust_coefficient=self.trust,
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
        direction = self._trusted(parameter, gradient) if parameter.dim() > 1 else gradient
        kept = [self.momentum * velocity + direction for velocity in slots]
        return parameter - coefficients[0] * (kept or [direction])[0], kept

    def _trusted(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        size = parameter.square().sum().sqrt()
        below = gradient.square().sum().sqrt() + self.weight_decay * size
        one = torch.ones_like(size)
        ratio = torch.where(size > 0, torch.where(below > 0, self.trust * size / below, one), one)
        return ratio * (gradient + self.weight_decay * parameter)
