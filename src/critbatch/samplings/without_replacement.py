"""Independent batches, each drawn without replacement."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from typing_extensions import override

from ..sampling import Sampling


@final
@dataclass(frozen=True)
class WithoutReplacement(Sampling):
    """Every batch is a fresh random subset: no example twice in a batch, no memory between batches.

    The covariance of a batch gradient is then exactly S_N (1/B - 1/N), and 0 at B = N. An epoch is N // B batches.
    """

    @override
    def epoch(
        self, train_size: int, batch_size: int, *, order: torch.Generator, base: torch.Generator, number: int = 0
    ) -> Iterator[torch.Tensor]:
        for _ in range(train_size // batch_size):
            yield torch.randperm(train_size, generator=order)[:batch_size]
