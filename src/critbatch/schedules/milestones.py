"""Drops at milestones, after a warm-up if there is one."""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..schedule import Schedule


@final
@dataclass(frozen=True)
class Milestones(Schedule):
    """The factor falls to `drop` times itself at each milestone, and begins low during a warm-up.

    Sources: warm-up, constant or gradual: Goyal et al. (2017), arXiv:1706.02677, Section 2.2.

    Attributes:
        fractions: Of the budget, at which the factor falls.
        drop: What it is multiplied by each time.
        warmup: Share of the budget that warms up; 0 for none.
        start: Factor at the start of the warm-up.
        gradual: Whether it rises linearly from `start` to 1, or stays at `start` and then jumps.
    """

    fractions: tuple[float, ...] = (1 / 3, 2 / 3, 8 / 9)
    drop: float = 0.1
    warmup: float = 0.0
    start: float = 0.1
    gradual: bool = True

    def __post_init__(self) -> None:
        if not (all(0 < one < 1 for one in self.fractions) and 0 <= self.warmup < 1 and self.drop > 0 < self.start):
            raise ValueError(
                f"`{self}`: fractions must be between 0 and 1, the warm-up in [0, 1), drop and start above 0."
            )

    @override
    def factor(self, used: float) -> float:
        fallen = self.drop ** sum(one <= used for one in self.fractions)
        if used >= self.warmup:
            return fallen
        return fallen * (self.start + (1 - self.start) * used / self.warmup if self.gradual else self.start)
