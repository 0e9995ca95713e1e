"""Half of a decay by the learning rate, half by the batch."""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..batch_policy import BatchPolicy, Seen, Setting, check_decay, passed


@final
@dataclass(frozen=True)
class Seesaw(BatchPolicy):
    """Where a schedule would divide the learning rate by f, it is divided by sqrt(f) and the batch multiplied by f.

    For Adam-like rules, whose noise goes with rate / sqrt(batch size). What the largest allowed batch leaves undone,
    the learning rate does.

    Source: Seesaw (2025), arXiv:2510.14717: 2 B and rate / sqrt(2) where the schedule halves the rate.

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
        decay = self.factor ** passed(self.examples, seen.examples)
        size = max(1, min(seen.most, round(seen.first * decay)))
        return Setting(size, (size / seen.first) ** 0.5 / decay)
