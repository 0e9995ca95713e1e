"""Which examples make up which batch."""

import enum
from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch

from .batch_policy import BatchPolicy


class LastBatch(enum.Enum):
    """What happens to the examples left over when the batch size does not divide the training set."""

    DROP = "left out of this epoch"
    WEIGHT = "used as a smaller batch whose step is scaled by its share of a whole one"


class Sampling(ABC):
    """The order in which training examples are visited.

    Sources of randomness are passed in and do not depend on the batch size: runs of one seed read one base order, cut
    into batches of different sizes.
    """

    @property
    def changes(self) -> tuple[int, ...]:
        """Return the epochs from which on batches may have sizes that were not there before; the first is 0."""
        return (0,)

    @property
    def steering(self) -> BatchPolicy | None:
        """Return what decides the batch size while a run trains; None where it stays what it is."""
        return None

    @abstractmethod
    def epoch(
        self, train_size: int, batch_size: int, *, order: torch.Generator, base: torch.Generator, number: int = 0
    ) -> Iterator[torch.Tensor]:
        """Yield the index batches of one epoch (CPU, int64).

        Args:
            train_size: Number of training examples.
            batch_size: Examples per step, at most `train_size`.
            order: A fresh generator for this epoch.
            base: A generator that starts alike in every epoch of the run.
            number: Of the epoch, from 0.
        """


def cut(order: torch.Tensor, batch_size: int, last_batch: LastBatch) -> Iterator[torch.Tensor]:
    """Yield consecutive pieces of `order` of `batch_size` each; what is left over is dropped or yielded."""
    whole = len(order) - len(order) % batch_size
    yield from order[:whole].split(batch_size)
    if last_batch is LastBatch.WEIGHT and whole < len(order):
        yield order[whole:]
