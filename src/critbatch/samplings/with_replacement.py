"""Independent draws with replacement."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from typing_extensions import override

from ..sampling import LastBatch, Sampling, cut


@final
@dataclass(frozen=True)
class WithReplacement(Sampling):
    """Every example of every batch is drawn independently: the setting of most theory. An epoch is N draws."""

    @override
    def epoch(
        self, train_size: int, batch_size: int, *, order: torch.Generator, base: torch.Generator, number: int = 0
    ) -> Iterator[torch.Tensor]:
        draws = torch.randint(train_size, (train_size,), generator=order)
        yield from cut(draws, batch_size, LastBatch.DROP)
