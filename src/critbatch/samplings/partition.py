"""The same batches for ever."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from typing_extensions import override

from ..sampling import LastBatch, Sampling, cut


@final
@dataclass(frozen=True)
class Partition(Sampling):
    """The training set is cut into batches once; each epoch visits these batches in a fresh random order."""

    last_batch: LastBatch = LastBatch.DROP

    @override
    def epoch(
        self, train_size: int, batch_size: int, *, order: torch.Generator, base: torch.Generator, number: int = 0
    ) -> Iterator[torch.Tensor]:
        batches = list(cut(torch.randperm(train_size, generator=base), batch_size, self.last_batch))
        for index in torch.randperm(len(batches), generator=order).tolist():
            yield batches[index]
