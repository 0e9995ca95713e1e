"""The control: the learning rate is cut and the batch size stays."""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..batch_policy import BatchPolicy, Seen, Setting, check_decay, passed


@final
@dataclass(frozen=True)
class StepDecay(BatchPolicy):
    """The learning rate is divided after fixed numbers of examples; the batch size stays.

    What policies that grow the batch instead have to be compared with.

    Attributes:
        examples: After how many the rate is cut; increasing.
        factor: By which it is divided each time.
    """

    examples: tuple[int, ...] = (10_000,)
    factor: float = 2.0

    def __post_init__(self) -> None:
        check_decay(self, self.examples, self.factor)

    @override
    def decide(self, seen: Seen) -> Setting:
        return Setting(seen.first, self.factor ** -passed(self.examples, seen.examples))
