"""The batch follows the gradient noise scale, where that is resolved."""

from dataclasses import dataclass
from typing import final

import numpy as np
from typing_extensions import override

from ..batch_policy import BatchPolicy, Seen, Setting, check_observed
from ..noise import noise_scale


@final
@dataclass(frozen=True)
class NoiseControlled(BatchPolicy):
    """The batch follows `share` times the noise scale tr(Sigma)/|G|^2, by at most a factor `growth` a decision.

    It acts only if the whole interval of the noise scale lies outside the band [B / hysteresis, B x hysteresis], and
    never on an estimate that is not resolved: an interval without an upper end says nothing about how large a batch
    may be, and the batch then stays.

    Source: McCandlish et al. (2018), arXiv:1812.06162, Appendix D, who let the batch follow the noise scale; hysteresis
    and the condition on the interval are ours.

    Attributes:
        share: Of the noise scale that the batch shall be.
        hysteresis: Half the width of the band in which nothing is done, as a factor above 1.
        growth: A batch changes at most by this factor at a time.
        exponent: Of the batch size in the learning rate.
        level: Confidence level of the interval.
        every: Steps between two decisions.
        looks: Of these steps observed.
    """

    share: float = 1.0
    hysteresis: float = 2.0
    growth: float = 2.0
    exponent: float = 0.5
    level: float = 0.9
    every: int = 100
    looks: int = 20

    def __post_init__(self) -> None:
        check_observed(self, self.every, self.looks, fewest=2)
        if not (self.share > 0 and self.hysteresis > 1 and self.growth > 1 and 0 < self.level < 1):
            raise ValueError(
                f"`{self}`: share must be above 0, hysteresis and growth above 1, and level between 0 and 1."
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
        if len(seen.traces) < 2 or not np.isfinite([*seen.traces, *seen.squared_norms]).all():
            return seen.now
        found = noise_scale(
            np.array(seen.traces), np.array(seen.squared_norms), batch_size=size, level=self.level
        )  # fmt: skip
        if found.value is None or found.low is None or found.high is None:
            return seen.now
        if self.share * found.low > size * self.hysteresis:
            return seen.grown(min(self.share * found.value, size * self.growth), self.exponent)
        if self.share * found.high < size / self.hysteresis:
            return seen.grown(max(self.share * found.value, size / self.growth), self.exponent)
        return seen.now
