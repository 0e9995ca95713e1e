"""Equal examples."""

import math
from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..budget import Budget, Progress


@final
@dataclass(frozen=True)
class Examples(Budget):
    """Every batch size sees the same number of training examples."""

    examples: float

    def __post_init__(self) -> None:
        if not 0 < self.examples < math.inf:
            raise ValueError(f"`Examples(examples={self.examples})`: must be above 0 and finite.")

    @override
    def used(self, progress: Progress) -> float:
        return progress.examples / self.examples

    @override
    def most_steps(self, batch_size: int, train_size: int) -> float:
        return math.ceil(self.examples / batch_size) + math.ceil(self.examples / train_size)
