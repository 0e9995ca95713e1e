"""The update rule of a run."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor


class Optimizer(ABC):
    """Hyperparameters of an update rule. The learning rate is not among them: it belongs to the run.

    The rule is there twice: `build` returns the reference, from `torch.optim` where it has one, and `update` says the same as a pure
    function, which can be compiled and applied to stacked parameters. A law holds the two together.

    Attributes:
        clip_norm: Largest norm of the whole gradient, over all parameters; a longer one is scaled down to it before
            the rule is applied. None: no clipping.
    """

    clip_norm: float | None

    @property
    @abstractmethod
    def first_learning_rate(self) -> float:
        """Return where the search for a learning rate starts on a problem that nothing is known about."""

    @abstractmethod
    def build(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """Return the reference implementation, a `torch.optim.Optimizer`, over `parameters`.

        Raises:
            ImportError: If it is of an optional package that is not installed; the message says how to install it.
        """

    @property
    @abstractmethod
    def slots(self) -> int:
        """Return how many tensors the rule keeps for each parameter; they start at zero."""

    @abstractmethod
    def coefficients(self, learning_rate: np.ndarray, step: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return what `update` needs to know of learning rates and of their steps (from 1), of the same shape."""

    @abstractmethod
    def update(
        self, parameter: Tensor, gradient: Tensor, slots: Sequence[Tensor], coefficients: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return a parameter and its slots after a step; nothing is changed in place.

        Args:
            parameter: Before the step.
            gradient: Of the same shape.
            slots: As many as `slots`, of the same shape.
            coefficients: Scalar tensors of the values that the method `coefficients` returns.
        """

    def update_all(
        self,
        parameters: Sequence[Tensor],
        gradients: Sequence[Tensor],
        slots: Sequence[Sequence[Tensor]],
        coefficients: Sequence[Tensor],
    ) -> tuple[list[Tensor], list[list[Tensor]]]:
        """Return all parameters and their slots after a step: `update` of each, unless a rule looks at their order.

        Args:
            parameters: In the model's order, those without a gradient left out.
            gradients: One for each parameter.
            slots: One list for each parameter.
            coefficients: As `update` has them.
        """
        moved = [
            self.update(one, gradient, kept, coefficients)
            for one, gradient, kept in zip(parameters, gradients, slots, strict=True)
        ]
        return [one for one, _ in moved], [kept for _, kept in moved]

    @property
    def cycle(self) -> int:
        """Return after how many steps the rule repeats itself: 1 unless it counts steps."""
        return 1


def check_clip_norm(optimizer: Optimizer) -> None:
    """Do nothing if the optimizer's `clip_norm` can be used.

    Raises:
        ValueError: If it is 0, negative or infinite.
    """
    if optimizer.clip_norm is not None and not 0 < optimizer.clip_norm < float("inf"):
        raise ValueError(f"`{optimizer}`: clip_norm must be above 0 and finite. Use None for no clipping.")
