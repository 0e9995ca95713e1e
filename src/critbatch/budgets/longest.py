"""The longer of several budgets, so that one sweep can be read under each of them."""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..budget import Budget, Progress


@final
@dataclass(frozen=True)
class Longest(Budget):
    """Ends when every one of `budgets` is spent: one run serves equal epochs and equal steps alike."""

    budgets: tuple[Budget, ...]

    def __post_init__(self) -> None:
        if not self.budgets:
            raise ValueError("`Longest(budgets=())`: needs at least one budget.")

    @override
    def used(self, progress: Progress) -> float:
        return min(budget.used(progress) for budget in self.budgets)

    @override
    def most_steps(self, batch_size: int, train_size: int) -> float:
        return max(budget.most_steps(batch_size, train_size) for budget in self.budgets)
