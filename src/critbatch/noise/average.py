"""A running average of the two moments that forgets."""

import math
from typing import final

from ..estimate import Estimate
from .scale import DEFINITION


@final
class Ema:
    """Exponential moving averages of raw tr(Sigma) and |G|^2, corrected for their start by one and the same factor.

    Averaging the ratio instead would average a biased, heavy-tailed number. As both moments have the same weights, the
    correction 1/(1 - decay^n) cancels in the ratio: it matters for the moments alone. A step at which either of the two
    is not finite is left out of both.

    Source: McCandlish et al. (2018), arXiv:1812.06162, Appendix A.1, average both moments before dividing; correction:
    Kingma and Ba (2015), arXiv:1412.6980, Section 3.

    Args:
        decay: Weight of the past, from 0 (no memory) to below 1.

    Raises:
        ValueError: If the decay is out of range.
    """

    def __init__(self, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"`Ema(decay={decay})`: must be at least 0 and below 1. Use 0.99 to look back 100 steps.")
        self.decay = decay
        self.count = 0
        self.left_out = 0
        self._trace = 0.0
        self._squared_norm = 0.0

    def add(self, trace: float, squared_norm: float) -> None:
        """Add the raw moments of a step."""
        if not (math.isfinite(trace) and math.isfinite(squared_norm)):
            self.left_out += 1
            return
        self.count += 1
        self._trace += (1 - self.decay) * (trace - self._trace)
        self._squared_norm += (1 - self.decay) * (squared_norm - self._squared_norm)

    @property
    def moments(self) -> tuple[float, float]:
        """Return the averages of tr(Sigma) and |G|^2; NaN before the first step."""
        share = 1 - self.decay**self.count
        return (self._trace / share, self._squared_norm / share) if share else (math.nan, math.nan)

    @property
    def effective_count(self) -> float:
        """Return how many equally weighted steps would average as well: (1 + decay)/(1 - decay) in the long run.

        For independent steps. It is the squared sum of the weights over the sum of their squares.
        """
        past = self.decay**self.count
        return (1 + self.decay) / (1 - self.decay) * (1 - past) / (1 + past)

    def scale(self) -> Estimate:
        """Return the ratio of the averages, for a display: without an interval, which needs the raw pairs.

        Keep them and use `noise_scale_along`. Missing where the average of |G|^2 is not above 0.
        """
        trace, squared_norm = self.moments
        method = f"ratio of exponential moving averages, decay {self.decay:g}, no interval"
        if not squared_norm > 0:
            reason = "the average of |G|^2 is not above 0" if self.count else "no step was added"
            return Estimate.missing(reason, unit="examples", definition=DEFINITION, count=self.count, method=method)
        return Estimate(trace / squared_norm, None, None, 0.95, self.count, "examples", method, DEFINITION)
