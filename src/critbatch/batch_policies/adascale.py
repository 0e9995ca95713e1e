"""A large batch at once, and a learning rate that grows by what it gains."""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..batch_policy import BatchPolicy, Seen, Setting, check_observed


@final
@dataclass(frozen=True)
class AdaScale(BatchPolicy):
    """The batch is `multiple` times the given one; the learning rate, known for the given one, is multiplied by the gain.

    The gain (tr(Sigma)/b + |G|^2) / (tr(Sigma)/(b S) + |G|^2), with b the given batch size and S the multiple, is 1
    where noise is nothing, and S where it is all. Where |G|^2 is not seen above 0, it is S: then it only says that the
    gradient drowns in the noise.

    Source: Johnson, Agrawal, Gu and Guestrin (2020), arXiv:2007.05105, Algorithm 1.

    Attributes:
        multiple: Of the given batch size.
        every: Steps between two decisions.
        looks: Of these steps observed.
    """

    multiple: float = 4.0
    every: int = 10
    looks: int = 5

    def __post_init__(self) -> None:
        check_observed(self, self.every, self.looks)
        if not self.multiple > 1:
            raise ValueError(f"`{self}`: multiple must be above 1.")

    @property
    @override
    def interval(self) -> int:
        return self.every

    @property
    @override
    def observations(self) -> int:
        return self.looks

    @override
    def start(self, batch_size: int, most: int) -> Setting:
        return Setting(min(most, round(batch_size * self.multiple)))

    @override
    def decide(self, seen: Seen) -> Setting:
        if not seen.traces:
            return seen.now
        trace = sum(seen.traces) / len(seen.traces)
        square = max(sum(seen.squared_norms) / len(seen.squared_norms), 0.0)
        size = seen.now.batch_size
        if trace <= 0:
            return Setting(size, 1.0)
        return Setting(size, (trace / seen.first + square) / (trace / size + square))
