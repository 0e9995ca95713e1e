"""A new order in every epoch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from typing_extensions import override

from ..sampling import LastBatch, Sampling, cut


@final
@dataclass(frozen=True)
class Reshuffle(Sampling):
    """Each epoch visits every example once, in a fresh random order (without replacement)."""

    last_batch: LastBatch = LastBatch.DROP

    @override
    def epoch(
        self, train_size: int, batch_size: int, *, order: torch.Generator, base: torch.Generator, number: int = 0
    ) -> Iterator[torch.Tensor]:
        yield from cut(torch.randperm(train_size, generator=order), batch_size, self.last_batch)
