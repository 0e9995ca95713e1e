"""Every batch several times in a row."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from typing_extensions import override

from ..sampling import LastBatch, Sampling, cut


@final
@dataclass(frozen=True)
class Repeated(Sampling):
    """A new order in every epoch, of which every batch is given `times` times: for rules of several steps a batch.

    Every time counts as examples: an epoch of a budget is N examples of work, which reads N / `times` different ones.
    """

    times: int = 2
    last_batch: LastBatch = LastBatch.DROP

    def __post_init__(self) -> None:
        if not (self.times >= 1 and int(self.times) == self.times):
            raise ValueError(f"`Repeated(times={self.times})`: must be a whole number, at least 1.")

    @override
    def epoch(
        self, train_size: int, batch_size: int, *, order: torch.Generator, base: torch.Generator, number: int = 0
    ) -> Iterator[torch.Tensor]:
        for batch in cut(torch.randperm(train_size, generator=order), batch_size, self.last_batch):
            yield from itertools.repeat(batch, self.times)
