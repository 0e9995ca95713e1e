"""The same batches for ever, each several times in a row."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from typing_extensions import override

from ..sampling import LastBatch, Sampling, cut


@final
@dataclass(frozen=True)
class RepeatedPartition(Sampling):
    """The training set is cut into batches once; an epoch visits them in a fresh order, each `times` times in a row.

    For rules that add up what they find in all batches before they move, so that only rounding depends on the order.
    Every time counts as examples: an epoch of a budget is N examples of work, which reads N / `times` different ones.
    """

    times: int = 2
    last_batch: LastBatch = LastBatch.DROP

    def __post_init__(self) -> None:
        if not (self.times >= 1 and int(self.times) == self.times):
            raise ValueError(f"`RepeatedPartition(times={self.times})`: must be a whole number, at least 1.")

    @override
    def epoch(
        self, train_size: int, batch_size: int, *, order: torch.Generator, base: torch.Generator, number: int = 0
    ) -> Iterator[torch.Tensor]:
        batches = list(cut(torch.randperm(train_size, generator=base), batch_size, self.last_batch))
        for index in torch.randperm(len(batches), generator=order).tolist():
            yield from itertools.repeat(batches[index], self.times)
