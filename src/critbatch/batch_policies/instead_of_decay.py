"""Where a schedule would cut the learning rate, the batch grows."""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..batch_policy import BatchPolicy, Seen, Setting, check_decay, passed


@final
@dataclass(frozen=True)
class InsteadOfDecay(BatchPolicy):
    """The batch is multiplied where a schedule would divide the learning rate by the same factor.

    The noise of SGD goes with rate / batch size, so that both do the same to it. What the largest allowed batch leaves
    undone, the learning rate does.

    Source: Smith, Kindermans, Ying and Le (2018), arXiv:1711.00489.

    Attributes:
        examples: After how many the schedule acts; increasing.
        factor: Of one decay.
    """

    examples: tuple[int, ...] = (10_000,)
    factor: float = 2.0

    def __post_init__(self) -> None:
        check_decay(self, self.examples, self.factor)

    @override
    def decide(self, seen: Seen) -> Setting:
        wanted = seen.first * self.factor ** passed(self.examples, seen.examples)
        size = max(1, min(seen.most, round(wanted)))
        return Setting(size, size / wanted)
