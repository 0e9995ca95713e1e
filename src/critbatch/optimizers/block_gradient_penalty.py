"""Gradient descent on the mean loss of all blocks plus a penalty on the norm of each block's gradient."""

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
class BlockGradientPenalty(Optimizer):
    """Plain gradient descent on the mean over blocks b of f_b + strength/2 |grad f_b|^2.

    Its gradient is the mean of g_b + strength H_b g_b, where H_b g_b is a forward difference: from x a step goes `length`
    along g_b, where the gradient of the same block is g', and back, and g_b + strength |g_b| (g' - g_b)/length is added
    up. After 2 x `blocks` steps x moves by -rate times the mean. Hence the sampling has to give every block twice in a
    row and all blocks before the first again: `RepeatedPartition(2)`, or `Repeated(2)` where blocks are to change, at a
    batch size that is a `blocks`th of the training set. Looks in between see x, moved by `length` after odd steps.

    A penalty on the gradient of the whole set is another one: it is small wherever training is slow, and this one only
    where blocks agree.

    Source: Geiping et al. (2021), arXiv:2109.14119, who give the strength as a share of the learning rate.

    Attributes:
        blocks: Of the training set.
        strength: Of the penalty, in units of a learning rate.
        length: Of the step along the gradient.
        most: Largest norm of the mean over blocks; a longer one is scaled down to it. None: no clipping.
        clip_norm: Of each gradient that a step sees: g_b and g'.
    """

    blocks: int = 2
    strength: float = 0.01
    length: float = 0.01
    most: float | None = None
    clip_norm: float | None = None  # pyrefly: ignore  # read-only here

    def __post_init__(self) -> None:
        if not (self.blocks >= 1 and int(self.blocks) == self.blocks):
            raise ValueError(f"`{self}`: blocks must be a whole number, at least 1.")
        if not (0 <= self.strength < np.inf and 0 < self.length < np.inf):
            raise ValueError(f"`{self}`: strength must be at least 0, length above 0, and both finite.")
        if self.most is not None and not 0 < self.most < np.inf:
            raise ValueError(f"`{self}`: most must be above 0 and finite. Use None for no clipping.")
        check_clip_norm(self)

    @property
    @override
    def first_learning_rate(self) -> float:
        return 0.125

    @property
    @override
    def cycle(self) -> int:
        return 2 * self.blocks

    @override
    def build(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        return _BlockPenalisedSteps(parameters, {"lr": learning_rate}, self)

    @property
    @override
    def slots(self) -> int:
        return 3  # where the cycle began, the gradient of a block there, and what has been added up

    @override
    def coefficients(self, learning_rate: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, ...]:
        place = (step - 1) % self.cycle
        flags = (place == 0, place % 2 == 0, place == self.cycle - 1)
        return learning_rate, *(np.broadcast_to(one.astype(float), learning_rate.shape) for one in flags)

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
        rate, begins, is_first, ends = coefficients
        anchors = [begins * one + (1 - begins) * kept[0] for one, kept in zip(parameters, slots, strict=True)]
        before = [is_first * one + (1 - is_first) * kept[1] for one, kept in zip(gradients, slots, strict=True)]
        norm = _norm(before)
        bend = self.strength / self.length * norm
        sums = [
            (1 - begins) * kept[2] + (1 - is_first) / self.blocks * (old + bend * (new - old))
            for new, old, kept in zip(gradients, before, slots, strict=True)
        ]
        scale = 1.0 if self.most is None else (self.most / (_norm(sums) + TINY)).clamp(max=1.0)
        along = is_first * self.length / (norm + TINY)
        moved = [
            anchor + along * old - ends * rate * scale * total
            for anchor, old, total in zip(anchors, before, sums, strict=True)
        ]
        return moved, [list(kept) for kept in zip(anchors, before, sums, strict=True)]


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    return torch.stack([one.square().sum() for one in tensors]).sum().sqrt()


@final
class _BlockPenalisedSteps(torch.optim.Optimizer):
    """The reference."""

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], options: dict[str, Any], rule: BlockGradientPenalty
    ) -> None:
        torch.optim.Optimizer.__init__(self, parameters, options)
        self._rule, self._taken = rule, 0
        self._anchors, self._before, self._found = [], [], []

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyrefly: ignore  # no closure is used here
        moving = [(one, group["lr"]) for group in self.param_groups for one in group["params"] if one.grad is not None]
        place, rule = self._taken % self._rule.cycle, self._rule
        self._taken += 1
        if place == 0:
            self._anchors, self._found = [one.clone() for one, _ in moving], []
        if place % 2 == 0:
            self._before = [one.grad.clone() for one, _ in moving]
            unit = torch.cat([one.flatten() for one in self._before]).norm() + TINY
            for (one, _), gradient in zip(moving, self._before, strict=True):
                one.add_(gradient * (rule.length / unit))
            return
        size = torch.cat([one.flatten() for one in self._before]).norm()
        products = [(one.grad - old) * size / rule.length for (one, _), old in zip(moving, self._before, strict=True)]
        self._found.append([old + rule.strength * one for old, one in zip(self._before, products, strict=True)])
        for (one, _), anchor in zip(moving, self._anchors, strict=True):
            one.copy_(anchor)
        if len(self._found) == rule.blocks:
            means = [torch.stack(parts).mean(0) for parts in zip(*self._found, strict=True)]
            length = float(torch.cat([one.flatten() for one in means]).norm())
            share = 1.0 if rule.most is None else min(1.0, rule.most / (length + TINY))
            for (one, rate), mean in zip(moving, means, strict=True):
                one.sub_(mean, alpha=rate * share)
