"""The batch grows until the noise of its gradient is a share of the gradient."""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..batch_policy import BatchPolicy, Seen, Setting, check_observed


@final
@dataclass(frozen=True)
class NormTest(BatchPolicy):
    """The batch grows when tr(Sigma)/B exceeds theta^2 |g_B|^2, to the size at which it would not; it never shrinks.

    Both sides are means over the observed steps, with |g_B|^2 = |G|^2 + tr(Sigma)/B in the mean.

    Source: Byrd, Chin, Nocedal and Wu (2012), Mathematical Programming 134; Lau et al. (2024), arXiv:2412.21124.

    Attributes:
        theta: Largest relative noise of a batch gradient, in (0, 1).
        growth: A batch grows at most by this factor at a time.
        exponent: Of the batch size in the learning rate.
        every: Steps between two decisions.
        looks: Of these steps observed.
    """

    theta: float = 0.9
    growth: float = 2.0
    exponent: float = 0.5
    every: int = 50
    looks: int = 10

    def __post_init__(self) -> None:
        check_observed(self, self.every, self.looks)
        if not (0 < self.theta < 1 and self.growth > 1):
            raise ValueError(
                f"`{self}`: theta must be in (0, 1), since the noise of a batch gradient is never more than all of it, and "
                "growth above 1."
            )

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
        size = seen.now.batch_size
        if not seen.traces:
            return seen.now
        trace = sum(seen.traces) / len(seen.traces)
        square = sum(seen.squared_norms) / len(seen.squared_norms) + trace / size
        if square <= 0 or trace / size <= self.theta**2 * square:
            return seen.now
        return seen.grown(min(trace / (self.theta**2 * square), self.growth * size), self.exponent)
