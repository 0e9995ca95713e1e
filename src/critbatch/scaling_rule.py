"""How the learning rate follows the batch size."""

from abc import ABC, abstractmethod

import numpy as np


class ScalingRule(ABC):
    """A learning rate as a function of batch size, given one that is known."""

    @property
    @abstractmethod
    def exponent(self) -> float:
        """Return the exponent of the batch size in this rule, for batches far below its bend if it has one."""

    @property
    @abstractmethod
    def bends(self) -> bool:
        """Return whether the rule needs a batch size at which it bends: a noise scale, measured or fitted."""

    @abstractmethod
    def log_rate(self, batch_sizes: np.ndarray, bend: float) -> np.ndarray:
        """Return the logarithm of the learning rate, up to a constant, shape (size,).

        Args:
            batch_sizes: Shape (size,).
            bend: The batch size at which the rule bends; rules that do not bend ignore it.
        """

    def learning_rate(
        self, learning_rate: float, from_batch_size: int, to_batch_size: int, *, bend: float | None = None
    ) -> float:  # fmt: skip
        """Return the learning rate at `to_batch_size` that corresponds to `learning_rate` at `from_batch_size`.

        Raises:
            ValueError: If the rule bends and no `bend` is given.
        """
        if self.bends and bend is None:
            raise ValueError(
                f"`{type(self).__name__}.learning_rate(bend=None)`: this rule bends at a noise scale. Give the measured one "
                "in examples, for example from `critbatch run`."
            )
        known, wanted = self.log_rate(np.array([from_batch_size, to_batch_size], dtype=float), bend or 1.0)
        return float(learning_rate * np.exp(wanted - known))
