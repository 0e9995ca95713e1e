"""A ramp that is fixed beforehand."""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..batch_policy import BatchPolicy, Seen, Setting, check_steps, passed


@final
@dataclass(frozen=True)
class Ramp(BatchPolicy):
    """The batch size is multiplied after fixed numbers of examples, and the learning rate follows.

    Left where it is while batches grow, the learning rate wastes them; with the exponent 1/2 an update keeps its
    covariance, with 1 the progress for each example stays.

    Source: Merrill et al. (2025), arXiv:2505.23971, who double the batch and multiply the rate by sqrt(2).

    Attributes:
        examples: After how many the batch grows; increasing.
        multiples: Of the first batch size from there on; as many.
        exponent: Of the batch size in the learning rate.
    """

    examples: tuple[int, ...] = (10_000,)
    multiples: tuple[float, ...] = (2.0,)
    exponent: float = 0.5

    def __post_init__(self) -> None:
        check_steps(self, self.examples)
        if len(self.multiples) != len(self.examples) or min(self.multiples) <= 0:
            raise ValueError(
                f"`{self}`: multiples must be above 0, one for each of the {len(self.examples)} numbers of examples."
            )

    @override
    def decide(self, seen: Seen) -> Setting:
        past = passed(self.examples, seen.examples)
        return seen.grown(seen.first * self.multiples[past - 1], self.exponent) if past else seen.now
