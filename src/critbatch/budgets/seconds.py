"""Equal wall-clock time."""

import math
from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..budget import Budget, Progress


@final
@dataclass(frozen=True)
class Seconds(Budget):
    """Every batch size trains for the same time on this device. Not reproducible: it measures the machine too."""

    seconds: float

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"`Seconds(seconds={self.seconds})`: must be above 0 and finite.")

    @override
    def used(self, progress: Progress) -> float:
        return progress.seconds / self.seconds

    @override
    def most_steps(self, batch_size: int, train_size: int) -> float:
        return math.inf
