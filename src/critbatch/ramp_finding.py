"""What a sweep found of batch sizes that change."""

from dataclasses import dataclass
from typing import final

from .estimate import Estimate


@final
@dataclass(frozen=True)
class SteeredArm:
    """One batch-size policy beside the best fixed batch size.

    Attributes:
        policy: Its name.
        is_control: Whether its batch does not grow: only the learning rate is cut.
        is_adaptive: Whether it looks at the gradient noise.
        batch_size: First one, the better of those tried; None if it never reached the target.
        learning_rate: The best at it.
        tried: First batch sizes times learning rates.
        reached: Pairs of runs, one of the arm and one fixed, that both reached the target.
        seconds: Ratio to the fixed batch size's.
        steps: Likewise.
        examples: Likewise.
        p_value: That the seconds are equal, adjusted for the number of policies (Holm).
    """

    policy: str
    is_control: bool
    is_adaptive: bool
    batch_size: int | None
    learning_rate: float | None
    tried: int
    reached: int
    seconds: Estimate
    steps: Estimate
    examples: Estimate
    p_value: float


@final
@dataclass(frozen=True)
class Ramps:
    """Whether a batch size that changes would have saved time.

    Attributes:
        batch_size: The best fixed one; None if none reached the target.
        learning_rate: The best at it.
        sentence: The answer.
        arms: The fastest first.
        step_seconds: t0 of a step's time t0 + t1 B on this device, after which all arms are timed.
        example_seconds: t1.
    """

    batch_size: int | None
    learning_rate: float | None
    sentence: str
    arms: tuple[SteeredArm, ...]
    step_seconds: float
    example_seconds: float
