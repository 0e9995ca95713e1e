"""Gradient descent on the loss plus a penalty on the norm of its gradient."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from ..optimizer import Optimizer, check_clip_norm

TINY = 1e-12  # a gradient of this norm has no direction


@final
@dataclass(frozen=True)
class GradientPenalty(Optimizer):
    """Plain SGD on f_B + strength/2 |grad f_B|^2, whose gradient is g + strength H g.

    H g is taken by a forward difference: from x_k a first step goes `length` along g, where the gradient of the same
    batch is g', and a second one goes from x_k by -rate (g + strength |g| (g' - g)/length). So the sampling has to give
    every batch twice in a row: `Repeated(2)`. Looks after an odd number of steps see the parameters moved by `length`.

    Source: Geiping et al. (2021), arXiv:2109.14119.

    Attributes:
        strength: Of the penalty, in units of a learning rate.
        length: Of the step along the gradient.
        clip_norm: Of g and of g', each.
    """

    strength: float = 0.01
    length: float = 0.01
    clip_norm: float | None = None  # pyrefly: ignore  # read-only here

    def __post_init__(self) -> None:
        if not (0 <= self.strength < np.inf and 0 < self.length < np.inf):
            raise ValueError(f"`{self}`: strength must be at least 0, length above 0, and both finite.")
        check_clip_norm(self)

    @property
    @override
    def first_learning_rate(self) -> float:
        return 0.125

    @property
    @override
    def cycle(self) -> int:
        return 2

    @override
    def build(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        return _PenalisedSteps(parameters, {"lr": learning_rate}, self.strength, self.length)

    @property
    @override
    def slots(self) -> int:
        return 2  # where the first step began, and the gradient there

    @override
    def coefficients(self, learning_rate: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, ...]:
        is_first = (step % 2 == 1).astype(float)
        return learning_rate, np.broadcast_to(is_first, learning_rate.shape)

    @override
    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], coefficients: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        (moved,), (kept,) = self.update_all([parameter], [gradient], [slots], coefficients)
        return moved, kept

    @override
    def update_all(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], slots: Sequence[Sequence[Tensor]],
        coefficients: Sequence[Tensor],
    ) -> tuple[list[Tensor], list[list[Tensor]]]:  # fmt: skip
        rate, is_first = coefficients
        begun = [
            [is_first * one + (1 - is_first) * anchor, is_first * gradient + (1 - is_first) * before]
            for one, gradient, (anchor, before) in zip(parameters, gradients, slots, strict=True)
        ]
        norm = torch.stack([before.square().sum() for _, before in begun]).sum().sqrt()
        along, bend = self.length / (norm + TINY), self.strength / self.length * norm
        moved = [
            anchor + is_first * along * before - (1 - is_first) * rate * (before + bend * (gradient - before))
            for gradient, (anchor, before) in zip(gradients, begun, strict=True)
        ]
        return moved, begun


@final
class _PenalisedSteps(torch.optim.Optimizer):
    """The reference."""

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], options: dict[str, Any], strength: float, length: float
    ) -> None:
        super().__init__(parameters, options)
        self._strength, self._length, self._begun = strength, length, []

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyrefly: ignore  # no closure is used here
        moving = [(one, group["lr"]) for group in self.param_groups for one in group["params"] if one.grad is not None]
        if not self._begun:
            norm = float(torch.cat([one.grad.flatten() for one, _ in moving]).norm())
            self._begun = [(one.clone(), one.grad.clone(), norm) for one, _ in moving]
            for one, _ in moving:
                one.add_(one.grad, alpha=self._length / (norm + TINY))
            return
        for (one, rate), (anchor, before, norm) in zip(moving, self._begun, strict=True):
            bent = (one.grad - before) / self._length * norm
            one.copy_(anchor - rate * (before + self._strength * bent))
        self._begun = []
