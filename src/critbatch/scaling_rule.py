"""How the learning rate follows the batch size."""

from abc import ABC, abstractmethod


class ScalingRule(ABC):
    """A learning rate as a function of batch size, given one that is known."""

    @property
    @abstractmethod
    def exponent(self) -> float:
        """Return the exponent of the batch size in this rule: learning rate proportional to B**exponent."""

    def learning_rate(self, learning_rate: float, from_batch_size: int, to_batch_size: int) -> float:
        """Return the learning rate at `to_batch_size` that corresponds to `learning_rate` at `from_batch_size`."""
        return learning_rate * (to_batch_size / from_batch_size) ** self.exponent
