"""No randomness: the training set as it lies, the same batches in the same order for ever."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from typing_extensions import override

from ..sampling import LastBatch, Sampling, cut


@final
@dataclass(frozen=True)
class Sequential(Sampling):
    """Every epoch visits the training set from its first example to its last.

    What a loader does that was never told to shuffle. Batches are then no draws from the data: if the data lie in some
    order, so do they, and the noise of their gradients is a cycle.
    """

    last_batch: LastBatch = LastBatch.DROP

    @override
    def epoch(
        self, train_size: int, batch_size: int, *, order: torch.Generator, base: torch.Generator, number: int = 0
    ) -> Iterator[torch.Tensor]:
        yield from cut(torch.arange(train_size), batch_size, self.last_batch)
