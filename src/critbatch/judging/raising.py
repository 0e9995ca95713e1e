"""Batch sizes that rise where learning rates would fall: what to run.

The protocol of Smith, Kindermans, Ying and Le (2018), arXiv:1711.00489, made small.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from ..bed import common_bed
from ..budget import Progress
from ..budgets.epochs import Epochs
from ..claim import Imagined, Scale, World
from ..finding import TaskFacts
from ..optimizers.sgd import SGD
from ..plan import Plan, Run
from ..sampling import LastBatch, Sampling
from ..samplings.growing import Growing
from ..samplings.reshuffle import Reshuffle
from ..schedule import Schedule
from ..schedules.milestones import Milestones
from .protocol import common_rates, runs, seeds

EPOCHS = {"full": 60, "smoke": 8}
CHANGES = {"full": (30, 45, 54), "smoke": (4,)}  # epochs at which the rate falls or the batch size rises, by a factor:
FACTOR = {"full": 4, "smoke": 16}
LIMIT = 10  # batch sizes are raised up to this part of the training set
MIDDLE = 2.0**-5  # of the learning rates tried on a test bed at the smallest batch size
WHOLE = Reshuffle(LastBatch.WEIGHT)  # all examples in every epoch, so that epochs are exact shares of the budget


def ladder(facts: TaskFacts, scale: Scale) -> list[int]:
    """Return the batch sizes that are raised to, the first one first: a power of 2, and none above a tenth of the data.

    There are always two; otherwise there are fewer than changes where the training set is small.
    """
    most, factor = max((facts.train_size or 1) // LIMIT, 1), FACTOR[scale]
    changes = len(CHANGES[scale])
    first = 2 ** max(math.floor(math.log2(most / factor**changes)), 0)
    found = [first * factor**power for power in range(changes + 1)]
    return [size for at, size in enumerate(found) if size <= most or at < 2]


def falling(scale: Scale) -> Milestones:
    """Return the schedule that divides the rate by the factor at every change."""
    return Milestones(tuple(epoch / EPOCHS[scale] for epoch in CHANGES[scale]), 1 / FACTOR[scale])


def raised(
    facts: TaskFacts, scale: Scale, rate: float, times: int, *, optimizer: SGD | None = None
) -> Plan:  # fmt: skip
    """Return runs that raise the batch size at the first `times` changes, and decay the rate at the others.

    A run's batch size is its largest, and the engine scales the step of a smaller batch by its share. From rate x
    last/first, a fall by the factor at every change thus gives `rate` itself for as long as the batch size rises by the
    same factor (share and fall cancel), and a falling rate from then on.

    Args:
        facts: Of the task.
        scale: Of the protocol.
        rate: At the first batch size.
        times: 0 decays the rate alone.
        optimizer: Default: plain SGD.
    """
    sizes = ladder(facts, scale)[: times + 1]
    largest = sizes[-1]
    rises = CHANGES[scale][: len(sizes) - 1]
    growing = Growing(rises, tuple(size / largest for size in sizes), LastBatch.WEIGHT)
    rates = [rate * largest / sizes[0]]
    return of_size(facts, scale, largest, rates, optimizer=optimizer, sampling=growing if rises else WHOLE)


def of_size(
    facts: TaskFacts, scale: Scale, size: int, rates: Sequence[float], *, optimizer: SGD | None = None,
    schedule: Schedule | None = None, sampling: Sampling = WHOLE,
) -> Plan:  # fmt: skip
    """Return runs of one batch size, whose rate falls at every change and whose epochs leave out no example.

    Args:
        facts: Of the task.
        scale: Of the protocol.
        size: Batch size, the largest one if it changes.
        rates: To begin with.
        optimizer: Default: plain SGD.
        schedule: Default: `falling`.
        sampling: Of the examples.
    """
    return runs(
        facts, batch_sizes=[size], rates=rates, seeds=seeds(scale), budget=Epochs(EPOCHS[scale]), optimizer=optimizer,
        schedule=schedule or falling(scale), sampling=sampling,
    )  # fmt: skip


def tuned_first(facts: TaskFacts, scale: Scale) -> Plan:
    """Return the runs at the first batch size among which the rate is chosen: the rate alone decays."""
    size = ladder(facts, scale)[0]
    rates = [MIDDLE / 2, MIDDLE, MIDDLE * 2] if facts.is_bed else common_rates(facts, size, scale)
    return of_size(facts, scale, size, rates)


def made_up(
    generator: np.random.Generator, world: World, behind: Callable[[str, Run], float], *, silent: float = 5.0
) -> Imagined:  # fmt: skip
    """Return what runs would record where ways of training lag `behind`.

    Args:
        generator: Of this world.
        world: true, false or silent.
        behind: In units of log training loss at the end, by arm and run.
        silent: By how much there is more noise in a silent world.
    """
    noise = silent if world == "silent" else 1.0  # about as large as a margin: it neither equals nor differs
    sizes = {bed.name: bed.size for bed in (common_bed("full"), common_bed("smoke"))}
    by_seed = generator.normal(size=(64, 3))

    def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
        lag = 0.5 * np.log2(run.learning_rate / MIDDLE) ** 2 if arm == "tuning" else float(behind(arm, run))
        lag += 0.3 * (arm == "neither")
        own = generator.normal(size=3) * (0.15 if noise == 1 else 1.0)
        come = [Progress(step, step * run.batch_size, 0.0, sizes[run.task]) for step in looks.tolist()]
        share = np.minimum([run.budget.used(one) for one in come], 1.0)
        waves = np.stack([np.ones_like(share), np.sin(3 * share), np.sin(7 * share)])
        wander = 0.06 * (by_seed[run.seed] + own) @ waves
        accuracy = 0.92 - 0.025 * lag + 0.002 * noise * (by_seed[run.seed, 0] + generator.normal())
        shown = np.where(looks == 0, 0.1, accuracy - 0.5 * np.exp(-10 * share))
        return {
            "train_loss": np.exp(0.8 + (lag - 5) * np.sqrt(share) + wander), "validation_accuracy": shown,
            "test_accuracy": shown,
        }  # fmt: skip

    return values
