"""Equal steps (updates)."""

import math
from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..budget import Budget, Progress


@final
@dataclass(frozen=True)
class Steps(Budget):
    """Every batch size makes the same number of parameter updates; large batches see more examples."""

    steps: float

    def __post_init__(self) -> None:
        if not 1 <= self.steps < math.inf:
            raise ValueError(f"`Steps(steps={self.steps})`: must be at least 1 and finite.")

    @override
    def used(self, progress: Progress) -> float:
        return progress.step / self.steps

    @override
    def most_steps(self, batch_size: int, train_size: int) -> float:
        return math.ceil(self.steps)
