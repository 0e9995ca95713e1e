"""The seam between tiers: the runs of a cohort as parameters that take steps together."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from torch import Tensor, nn

from ..data import Examples


@final
@dataclass(frozen=True, eq=False)
class Block:
    """Some steps of every replica, all with one batch size. Runs of one seed share data and order.

    Attributes:
        data: The training examples by seed, on the device; the same set for all seeds unless the task is a stream.
        index: By seed the examples of each step: shape (step, example), int64, on the CPU.
        coefficients: Of the optimizer, shape (replica, step, coefficient), float64; replicas as in `active`.
    """

    data: Mapping[int, Examples]
    index: Mapping[int, Tensor]
    coefficients: np.ndarray


class Replicas(ABC):
    """The replicas of a cohort, numbered as its runs. What one does never changes another's numbers."""

    @abstractmethod
    def advance(self, active: Sequence[int], block: Block) -> list[Tensor]:
        """Take the block's steps with the `active` replicas; return the losses of each one's steps.

        A replica whose loss is not finite stops there: its losses end with that step.
        """

    @abstractmethod
    def module(self, replica: int) -> nn.Module:
        """Return a module in train mode with the replica's numbers; it may be changed by the next call."""

    @abstractmethod
    def means(self, replica: int, part: Examples) -> tuple[float, float] | None:
        """Return mean loss and metric in evaluation mode, or None if the module has to be asked itself."""

    def gradient_sums(self, replica: int, inputs: Tensor, targets: Tensor) -> tuple[Tensor, float] | None:
        """Return the sums of single examples' gradients and of their squared norms, or None: ask the module."""
        return None
