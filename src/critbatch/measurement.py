"""What can be looked at while a run trains, and when."""

import bisect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch

from .task import Task

GradientSums = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, float] | None]
LOOKS_PER_DECADE = 25
MOST_LOOKS = 200


def look_steps(per_decade: int = LOOKS_PER_DECADE, most: int = MOST_LOOKS) -> list[int]:
    """Return the steps after which a run is looked at: 0, then log-spaced, the same for every run and budget.

    Being independent of the budget, a longer run repeats the looks of a shorter one. The last step of a run is a look
    besides. At 25 a decade the first 200 looks reach beyond 10^8 steps.

    Args:
        per_decade: Looks per factor of ten in steps, at least 1.
        most: At most this many looks.
    """
    steps = [0]
    index = 0
    while len(steps) < most:
        step = math.ceil(10 ** (index / per_decade) - 1e-9)
        if step > steps[-1]:
            steps.append(step)
        index += 1
    return steps


def measured_steps(per_decade: int) -> frozenset[int]:
    """Return the looks at which a measurement is taken: the first at or after each of `look_steps(per_decade)`.

    Two grids of looks share few steps unless one density divides the other, and runs are looked at on one grid alone.

    Args:
        per_decade: Measurements per factor of ten in steps; 0 for none.
    """
    if not per_decade:
        return frozenset()
    looks = look_steps()
    wanted = (step for step in look_steps(min(per_decade, LOOKS_PER_DECADE)) if step <= looks[-1])
    return frozenset(looks[bisect.bisect_left(looks, step)] for step in wanted)


@final
@dataclass(frozen=True)
class Snapshot:
    """The state of a run at one look. `model` is a copy: a measurement may do with it what it likes.

    `inputs` and `targets` are the training set, and `population` its size; or fresh examples, and None, for a stream.
    `task.initialise(seed)` is the model that the run started from.
    `gradient_sums` is the engine's own way, where it has one, to add up gradients of single examples and their squared
    norms, given inputs and targets: the same numbers as from `model`, but faster.
    """

    task: Task
    model: torch.nn.Module
    inputs: torch.Tensor
    targets: torch.Tensor
    population: int | None
    batch_size: int
    learning_rate: float
    generator: torch.Generator
    seed: int = 0
    gradient_sums: GradientSums | None = None


class Measurement(ABC):
    """Numbers taken at some looks of a run. Taking them never changes the training, bit for bit."""

    @property
    @abstractmethod
    def looks_per_decade(self) -> int:
        """Return how often to measure, in looks per factor of ten in steps; 0 where only the end counts."""

    @property
    def at_the_end(self) -> bool:
        """Return whether to measure besides at the look with which a run ends, unless it ends by diverging."""
        return False

    @property
    @abstractmethod
    def quantities(self) -> Mapping[str, str]:
        """Return the unit of each quantity that `measure` returns, by the quantity's name."""

    @abstractmethod
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        """Return a value for each of `quantities` at this snapshot."""
