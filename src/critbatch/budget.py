"""What is held equal when batch sizes are compared."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Progress:
    """How far a run has come: steps taken, examples seen, training seconds, and the training set's size."""

    step: int
    examples: int
    seconds: float
    train_size: int


class Budget(ABC):
    """How long a run may train. A run stops at the first step with `used(progress) >= 1`."""

    @abstractmethod
    def used(self, progress: Progress) -> float:
        """Return the fraction of the budget that is spent, 0 at the start; schedules read the same fraction."""

    @abstractmethod
    def most_steps(self, batch_size: int, train_size: int) -> float:
        """Return the steps after which the budget is surely spent at `batch_size`; infinity when only time decides."""
