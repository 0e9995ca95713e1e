"""Half a cosine from the full learning rate to a fraction of it, stretched over the budget."""

import math
from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..schedule import Schedule


@final
@dataclass(frozen=True)
class Cosine(Schedule):
    """Decay to `final` times the learning rate at the end of the budget, whatever the budget is counted in.

    Source: Loshchilov and Hutter (2017), arXiv:1608.03983, Equation 5, without restarts.
    """

    final: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.final <= 1:
            raise ValueError(f"`Cosine(final={self.final})`: must be between 0 and 1.")

    @override
    def factor(self, used: float) -> float:
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(used, 1.0))) / 2
