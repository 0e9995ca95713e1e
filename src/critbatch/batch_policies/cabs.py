"""The batch that a given learning rate deserves."""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..batch_policy import BatchPolicy, Seen, Setting, check_observed


@final
@dataclass(frozen=True)
class CABS(BatchPolicy):
    """The batch is learning rate x tr(Sigma) / (loss - floor): the rate stays, the batch follows noise and loss.

    For plain SGD on a loss whose smallest value is known; the batch is left where it is while the mean loss is not
    above the floor.

    Source: Balles, Romero and Hennig (2017), arXiv:1612.05086, Equation 22.

    Attributes:
        floor: Smallest value of the loss.
        growth: A batch changes at most by this factor at a time.
        every: Steps between two decisions.
        looks: Of these steps observed.
    """

    floor: float = 0.0
    growth: float = 2.0
    every: int = 10
    looks: int = 5

    def __post_init__(self) -> None:
        check_observed(self, self.every, self.looks)
        if not self.growth > 1:
            raise ValueError(f"`{self}`: growth must be above 1.")

    @property
    @override
    def interval(self) -> int:
        return self.every

    @property
    @override
    def observations(self) -> int:
        return self.looks

    @override
    def decide(self, seen: Seen) -> Setting:
        if not seen.traces or seen.loss is None or seen.loss <= self.floor:
            return seen.now
        size = seen.now.batch_size
        wanted = seen.learning_rate * sum(seen.traces) / len(seen.traces) / (seen.loss - self.floor)
        least = max(size / self.growth, 2)  # smaller, and the noise could not be seen any more
        return seen.grown(min(max(wanted, least), size * self.growth), 0.0)
