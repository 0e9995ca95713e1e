"""Several gradient steps on one batch, held back to where they began."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from ..optimizer import Optimizer, check_clip_norm


@final
@dataclass(frozen=True)
class Proximal(Optimizer):
    """Solve argmin f_B(x) + strength/2 |x - x_k|^2 of every batch by some gradient steps from x_k.

    One inner step is one step of a run, so that the sampling has to give every batch `inner_steps` times in a row:
    `Repeated(inner_steps)`. The anchor x_k is where the run was before the first of them.

    Source: Li, Zhang, Chen and Smola (2014), KDD.

    Attributes:
        inner_steps: Gradient steps for each batch.
        strength: Of the pull back to the anchor.
        clip_norm: Of the gradient of f_B alone.
    """

    inner_steps: int = 3
    strength: float = 0.1
    clip_norm: float | None = None  # pyrefly: ignore  # read-only here

    def __post_init__(self) -> None:
        if not (self.inner_steps >= 1 and int(self.inner_steps) == self.inner_steps and 0 <= self.strength < np.inf):
            raise ValueError(
                f"`{self}`: inner_steps must be a whole number, at least 1, and strength at least 0 and finite."
            )
        check_clip_norm(self)

    @property
    @override
    def first_learning_rate(self) -> float:
        return 0.125

    @property
    @override
    def cycle(self) -> int:
        return self.inner_steps

    @override
    def build(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        return _ProximalSteps(parameters, {"lr": learning_rate}, self.inner_steps, self.strength)

    @property
    @override
    def slots(self) -> int:
        return 1

    @override
    def coefficients(self, learning_rate: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, ...]:
        is_first = ((step - 1) % self.inner_steps == 0).astype(float)
        return learning_rate, np.broadcast_to(is_first, learning_rate.shape)

    @override
    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], coefficients: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        is_first = coefficients[1]
        anchor = is_first * parameter + (1 - is_first) * slots[0]
        return parameter - coefficients[0] * (gradient + self.strength * (parameter - anchor)), [anchor]


@final
class _ProximalSteps(torch.optim.Optimizer):
    """The reference."""

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], options: dict[str, Any], inner_steps: int, strength: float
    ) -> None:
        torch.optim.Optimizer.__init__(self, parameters, options)
        self._inner_steps, self._strength = inner_steps, strength

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyrefly: ignore  # no closure is used here
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                taken = state.get("taken", 0)
                if taken % self._inner_steps == 0:
                    state["anchor"] = parameter.clone()
                state["taken"] = taken + 1
                pull = parameter - state["anchor"]
                parameter.add_(parameter.grad.add(pull, alpha=self._strength), alpha=-group["lr"])
