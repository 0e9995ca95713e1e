"""Equal epochs."""

import math
from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..budget import Budget, Progress


@final
@dataclass(frozen=True)
class Epochs(Budget):
    """Every batch size makes the same number of passes over the data; large batches get fewer steps."""

    epochs: float

    def __post_init__(self) -> None:
        if not 0 < self.epochs < math.inf:
            raise ValueError(f"`Epochs(epochs={self.epochs})`: must be above 0 and finite.")

    @override
    def used(self, progress: Progress) -> float:
        return progress.examples / (self.epochs * progress.train_size)

    @override
    def most_steps(self, batch_size: int, train_size: int) -> float:
        return math.ceil(self.epochs * train_size / batch_size) + math.ceil(self.epochs)
