"""Made-up training that approaches its best exponentially, with everything that claims differ about as a function."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np

from ..claim import Imagined
from ..plan import Run

START = 0.1  # accuracy of an untrained model
RATE = 3.0  # of approach: 95 % of the way at one time the examples needed
BEND = 0.5  # of log examples needed, per squared log of the learning rate over the best one
HARM = 0.004  # to accuracy, per squared log of a learning rate above the best one
JITTER = 0.002  # of accuracy, from look to look


@final
@dataclass(frozen=True)
class Learner:
    """How a made-up model learns at each batch size.

    Attributes:
        examples: To 95 % of the way, at the best learning rate.
        best_rate: Of the mean gradient.
        ceiling: Accuracy in the end.
        spread: Standard deviation of log examples over runs.
        scatter: Standard deviation of the end over runs.
        paired: Share of either variance that runs of one seed have in common.
    """

    examples: Callable[[int], float]
    best_rate: Callable[[int], float]
    ceiling: Callable[[int], float]
    spread: float = 0.15
    scatter: float = 0.004
    paired: float = 0.4


def imagined(learner: Learner, generator: np.random.Generator) -> Imagined:
    """Return what runs of a made-up model would have recorded.

    Args:
        learner: The model.
        generator: Of seeds' luck and of runs' own.
    """
    return imagined_by_arm(lambda _arm, _run: learner, generator)


def to_a_goal(s_min: float, e_min: float) -> Learner:
    """Return a learner whose steps to most of the way are a hyperbola in the batch size, as are its best learning rates.

    Args:
        s_min: Steps in the limit of large batches.
        e_min: Examples in the limit of small ones.
    """
    return Learner(
        examples=lambda size: e_min + s_min * size,
        best_rate=lambda size: 1 / (1 + 64 / size),
        ceiling=lambda _: 0.93,
    )


def imagined_by_arm(learner_of: Callable[[str, Run], Learner], generator: np.random.Generator) -> Imagined:
    """Return what runs would have recorded where each arm has a model of its own; a seed's luck is the same in all.

    Args:
        learner_of: The model of a run of an arm.
        generator: Of seeds' luck and of runs' own.
    """
    luck = generator.normal(size=(2, 64))

    def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
        learner, size = learner_of(arm, run), run.batch_size
        together, alone = learner.paired**0.5, (1 - learner.paired) ** 0.5
        own = together * luck[:, run.seed % 64] + alone * generator.normal(size=2)
        off = np.log(run.learning_rate / learner.best_rate(size))
        needed = learner.examples(size) * np.exp(BEND * off**2 + learner.spread * own[0])
        best = learner.ceiling(size) + learner.scatter * own[1] - HARM * max(off, 0.0) ** 2
        left = np.exp(-RATE * np.minimum(looks * size / needed, 200.0))
        seen = {"train_loss": 2.3 * left + 1e-9, "train_accuracy": 1 - (1 - START) * left}
        for split in ("validation", "test"):
            jitter = JITTER * generator.normal(size=len(looks)) * (looks > 0)
            seen[f"{split}_accuracy"] = best - (best - START) * left + jitter
        return seen

    return values
