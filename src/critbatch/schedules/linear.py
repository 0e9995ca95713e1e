"""A straight line from the full learning rate to a fraction of it, after an optional warmup."""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..schedule import Schedule


@final
@dataclass(frozen=True)
class Linear(Schedule):
    """Rise from 0 over the first `warmup` of the budget, then fall to `final` times the learning rate at its end."""

    final: float = 0.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.final <= 1 and 0 <= self.warmup < 1):
            raise ValueError(
                f"`Linear(final={self.final}, warmup={self.warmup})`: `final` must be in [0, 1] and `warmup` in [0, 1)."
            )

    @override
    def factor(self, used: float) -> float:
        if used < self.warmup:
            return used / self.warmup
        return 1 - (1 - self.final) * (min(used, 1.0) - self.warmup) / (1 - self.warmup)
