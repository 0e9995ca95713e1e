"""How batch size and learning rate move together while a run trains."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Setting:
    """What holds from the next step on: examples in a batch, and a factor on the learning rate."""

    batch_size: int
    factor: float = 1.0


@final
@dataclass(frozen=True)
class Seen:
    """What a policy may look at when it decides.

    Attributes:
        first: The batch size that training started with.
        most: The largest batch size that is allowed.
        now: What holds at present.
        step: Steps taken.
        examples: Examples seen.
        learning_rate: Of the last step, the factor included.
        loss: Mean training loss of the steps since the last decision, before each; None where it was not given.
        traces: Unbiased estimates of tr(Sigma) since the last decision, one for each observed step.
        squared_norms: Unbiased estimates of |G|^2, of the same steps; single ones may be negative.
    """

    first: int
    most: int
    now: Setting
    step: int
    examples: int
    learning_rate: float
    loss: float | None = None
    traces: tuple[float, ...] = ()
    squared_norms: tuple[float, ...] = ()

    def grown(self, batch_size: float, exponent: float) -> Setting:
        """Return the setting at `batch_size`, rounded and at most `most`, the rate following with `exponent`.

        A batch size that is no number changes nothing: a training that diverges gives such ones.
        """
        if not math.isfinite(batch_size):
            return self.now
        size = max(1, min(self.most, round(batch_size)))
        return Setting(size, (size / self.first) ** exponent)


class BatchPolicy(ABC):
    """When the batch size changes, to what, and what the learning rate does then.

    A policy holds no state: it is asked every `interval` steps, and told what was seen since it was asked last.
    """

    @property
    def interval(self) -> int:
        """Return how many steps lie between two decisions: 1 unless a policy looks at the noise."""
        return 1

    @property
    def observations(self) -> int:
        """Return at how many steps of an interval, its last ones, the gradient noise is needed; 0: never."""
        return 0

    def start(self, batch_size: int, most: int) -> Setting:
        """Return what holds at the first step of a training whose batch size is given as `batch_size`."""
        return Setting(batch_size)

    @abstractmethod
    def decide(self, seen: Seen) -> Setting:
        """Return what holds from the next step on; `seen.now` to change nothing."""


def check_steps(policy: BatchPolicy, examples: tuple[int, ...]) -> None:
    """Do nothing if `examples` can be the points at which `policy` changes something.

    Raises:
        ValueError: If there is none, one is not above 0, or they do not increase.
    """
    if not examples or any(later <= earlier for earlier, later in zip((0, *examples), examples, strict=False)):
        raise ValueError(
            f"`{policy}`: examples must be whole numbers above 0 that increase: after how many examples to act."
        )


def check_decay(policy: BatchPolicy, examples: tuple[int, ...], factor: float) -> None:
    """Do nothing if `policy` can act by `factor` after `examples`.

    Raises:
        ValueError: If the factor is not above 1, or the points make no sense.
    """
    check_steps(policy, examples)
    if not factor > 1:
        raise ValueError(f"`{policy}`: factor must be above 1: it is that of one decay.")


def check_observed(policy: BatchPolicy, interval: int, observations: int, *, fewest: int = 1) -> None:
    """Do nothing if a policy can decide every `interval` steps from `observations` of them.

    Raises:
        ValueError: If the interval is shorter than the observations, or they are fewer than `fewest`.
    """
    if not fewest <= observations <= interval:
        raise ValueError(
            f"`{policy}`: observations must be at least {fewest} and at most the interval, got {observations} in {interval}."
        )


def passed(examples: tuple[int, ...], seen: int) -> int:
    """Return how many of the points `examples` lie at or before `seen`."""
    return sum(one <= seen for one in examples)
