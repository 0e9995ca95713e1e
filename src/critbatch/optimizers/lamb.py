"""LAMB."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from ..optimizer import Optimizer, check_clip_norm

try:
    from pytorch_optimizer import Lamb as REFERENCE
except ImportError:  # `build` alone needs it, and says so
    REFERENCE = None


@final
@dataclass(frozen=True)
class LAMB(Optimizer):
    """Adam, whose step is in each layer the learning rate times the norm of that layer's weights.

    The direction r + weight decay w, with r = m / (sqrt(v) + epsilon), is multiplied by |w| / |r + weight decay w|; where
    one of the norms is 0, by 1. As the reference has it, that is done to every parameter, biases and those of
    normalisation among them, and weight decay is applied to all. The paper's phi is the identity: the reference's
    default of clamping |w| at 10 is taken off. Moments are not corrected for their start at zero, as in the reference:
    without weight decay the ratio takes such a factor out again, with it the first steps decay less.

    Source: You et al. (2020), arXiv:1904.00962, Algorithm 2; without bias correction as in version 3.

    Attributes:
        beta1: Of the mean of gradients.
        beta2: Of the mean of squared gradients.
        epsilon: Added to sqrt(v), and to the norm that is divided by.
        weight_decay: Decoupled, inside the ratio.
        clip_norm: Of the gradient before the rule.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-6
    weight_decay: float = 0.0
    clip_norm: float | None = None  # pyrefly: ignore  # read-only here

    def __post_init__(self) -> None:
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and self.epsilon > 0 and 0 <= self.weight_decay < np.inf):
            raise ValueError(f"`{self}`: betas must be in [0, 1), epsilon above 0, weight decay at least 0 and finite.")
        check_clip_norm(self)

    @property
    @override
    def first_learning_rate(self) -> float:
        return 2.0**-9

    @override
    def build(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        if REFERENCE is None:
            raise ImportError("pytorch_optimizer is not installed. Run: pip install 'critbatch[large-batch]'")
        built = REFERENCE(
            parameters,
            lr=learning_rate,
            betas=(self.beta1, self.beta2),
            eps=self.epsilon,
            weight_decay=self.weight_decay,
            weight_decouple=False,  # its name for weight decay inside the ratio, as in the paper
            adam_debias=True,  # otherwise it divides the step by 1 - beta1^t after the ratio, which the paper does not
        )
        built.clamp = float("inf")
        return built

    @property
    @override
    def slots(self) -> int:
        return 2

    @override
    def coefficients(self, learning_rate: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, ...]:
        return (learning_rate,)

    @override
    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], coefficients: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        first = self.beta1 * slots[0] + (1 - self.beta1) * gradient
        second = self.beta2 * slots[1] + (1 - self.beta2) * gradient * gradient
        direction = first / (second.sqrt() + self.epsilon) + self.weight_decay * parameter
        size, length = parameter.square().sum().sqrt(), direction.square().sum().sqrt()
        one = torch.ones_like(size)
        ratio = torch.where(size > 0, torch.where(length > 0, size / (length + self.epsilon), one), one)
        return parameter - coefficients[0] * ratio * direction, [first, second]
