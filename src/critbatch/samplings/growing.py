"""Batches that change their size from one epoch to another."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from typing_extensions import override

from ..sampling import LastBatch, Sampling, cut


@final
@dataclass(frozen=True)
class Growing(Sampling):
    """A new order in every epoch, cut into batches of a share of the run's batch size; the share changes at `epochs`.

    The engine scales the step of a smaller batch by its share: the learning rate per example stays what it is, so that
    a schedule has to say it if the step shall keep its length while batches grow. A run's seconds are told from the
    steps of its first epoch.

    Source: Smith, Kindermans, Ying and Le (2018), arXiv:1711.00489.

    Attributes:
        epochs: From which the next share holds; increasing, the first epoch is 0.
        shares: Of the run's batch size, one more than there are epochs, above 0 and at most 1.
        last_batch: What happens to left-over examples.
    """

    epochs: tuple[int, ...] = (1,)
    shares: tuple[float, ...] = (0.5, 1.0)
    last_batch: LastBatch = LastBatch.DROP

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.epochs) + 1:
            raise ValueError(
                f"`Growing(epochs={self.epochs}, shares={self.shares})`: {len(self.epochs)} epochs at which the share "
                f"changes need {len(self.epochs) + 1} shares."
            )
        if any(later <= earlier for earlier, later in itertools.pairwise((0, *self.epochs))):
            raise ValueError(f"`Growing(epochs={self.epochs})`: epochs must be whole numbers above 0 that increase.")
        if not all(0 < share <= 1 for share in self.shares):
            raise ValueError(f"`Growing(shares={self.shares})`: shares must be above 0 and at most 1.")

    @property
    @override
    def changes(self) -> tuple[int, ...]:
        return (0, *self.epochs)

    @override
    def epoch(
        self, train_size: int, batch_size: int, *, order: torch.Generator, base: torch.Generator, number: int = 0
    ) -> Iterator[torch.Tensor]:
        share = self.shares[sum(one <= number for one in self.epochs)]
        size = max(1, round(share * batch_size))
        yield from cut(torch.randperm(train_size, generator=order), size, self.last_batch)
