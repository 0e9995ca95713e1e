"""One block of layers after another."""

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
class BlockSequential(Optimizer):
    """Plain SGD that moves one block of consecutive layers at a step, the first layers first.

    With a sampling that gives every batch `blocks` times in a row, `Repeated(blocks)`, all layers have moved once on a
    batch after `blocks` steps, each by a gradient at which the layers before it had moved already: no two blocks move
    at once. A layer is a parameter with two axes or more and those with fewer after it (its bias, a norm's scales).

    Attributes:
        blocks: How many; a model with fewer layers has empty ones, at whose steps nothing moves.
        clip_norm: Of the whole gradient, before a block is chosen.
    """

    blocks: int = 2
    clip_norm: float | None = None  # pyrefly: ignore  # read-only here

    def __post_init__(self) -> None:
        if not (self.blocks >= 1 and int(self.blocks) == self.blocks):
            raise ValueError(f"`{self}`: blocks must be a whole number, at least 1.")
        check_clip_norm(self)

    @property
    @override
    def first_learning_rate(self) -> float:
        return 0.125

    @property
    @override
    def cycle(self) -> int:
        return self.blocks

    @override
    def build(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        return _BlockSteps(parameters, {"lr": learning_rate}, self.blocks)

    @property
    @override
    def slots(self) -> int:
        return 0

    @override
    def coefficients(self, learning_rate: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, ...]:
        turn = (step - 1) % self.blocks
        return tuple(np.where(turn == block, learning_rate, 0.0) for block in range(self.blocks))

    @override
    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], coefficients: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        return parameter - coefficients[0] * gradient, []  # as if it were of the first block

    @override
    def update_all(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], slots: Sequence[Sequence[Tensor]],
        coefficients: Sequence[Tensor],
    ) -> tuple[list[Tensor], list[list[Tensor]]]:  # fmt: skip
        places = _blocks_of(parameters, self.blocks)
        moved = [
            self.update(one, gradient, kept, coefficients[place:])
            for one, gradient, kept, place in zip(parameters, gradients, slots, places, strict=True)
        ]
        return [one for one, _ in moved], [kept for _, kept in moved]


def _blocks_of(parameters: Sequence[Tensor], blocks: int) -> list[int]:
    """Return the block of each parameter: layers in order, in groups as even as can be."""
    layers = np.cumsum([at == 0 or one.dim() > 1 for at, one in enumerate(parameters)]) - 1
    return [int(layer) * blocks // (int(layers[-1]) + 1) for layer in layers]


@final
class _BlockSteps(torch.optim.Optimizer):
    """The reference."""

    def __init__(self, parameters: Iterable[torch.nn.Parameter], options: dict[str, Any], blocks: int) -> None:
        torch.optim.Optimizer.__init__(self, parameters, options)
        self._blocks, self._taken = blocks, 0

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyrefly: ignore  # no closure is used here
        turn = self._taken % self._blocks
        self._taken += 1
        for group in self.param_groups:
            moving = [one for one in group["params"] if one.grad is not None]
            for parameter, place in zip(moving, _blocks_of(moving, self._blocks), strict=True):
                if place == turn:
                    parameter.add_(parameter.grad, alpha=-group["lr"])
