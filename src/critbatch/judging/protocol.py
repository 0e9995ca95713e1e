"""The runs that claims ask for: grids over a test bed, with the settings that most claims share.

Claims that ask for the same runs share them: a run is named by a hash of its settings, so that equal grids are trained
once. Hence the common grids below.
"""

from collections.abc import Iterable, Mapping, Sequence

from ..budget import Budget
from ..budgets.epochs import Epochs
from ..budgets.longest import Longest
from ..budgets.steps import Steps
from ..claim import Scale
from ..finding import TaskFacts
from ..measurement import Measurement
from ..optimizer import Optimizer
from ..optimizers.sgd import SGD
from ..plan import Plan, Run
from ..sampling import LastBatch, Sampling
from ..samplings.reshuffle import Reshuffle
from ..schedule import Schedule
from ..schedules.constant import Constant
from ..task import Target

SEEDS = {"smoke": 3, "full": 8}
Rates = Mapping[int, Sequence[float]] | Sequence[float]


def seeds(scale: Scale) -> range:
    """Return the paired seeds of a scale: 8 at full scale, of which all alike give p = 0.0078 in a sign test."""
    return range(SEEDS[scale])


def runs(  # noqa: PLR0913
    facts: TaskFacts, *, batch_sizes: Iterable[int], rates: Rates, seeds: Iterable[int], budget: Budget,
    optimizer: Optimizer | None = None, schedule: Schedule | None = None, sampling: Sampling | None = None,
    measurements: Sequence[Measurement] = (), target: Target | None = None,
) -> Plan:  # fmt: skip
    """Return batch sizes x learning rates x seeds on a task that is known by its facts alone.

    Batch sizes above the training set's are left out. A last batch that is not whole is left out of its epoch, unless
    the batch size is more than half of the training set: nothing is left out then, its step is scaled by its share.

    Args:
        facts: Of the task.
        batch_sizes: Examples per step.
        rates: The same for every batch size, or a list for each.
        seeds: Paired.
        budget: Of every run.
        optimizer: Default: plain SGD.
        schedule: Default: constant.
        sampling: Default: a new order every epoch.
        measurements: Taken at looks.
        target: At which runs end; None if they spend their whole budget.
    """
    found = []
    for size in sorted(set(batch_sizes)):
        if not 1 <= size <= (facts.train_size or size):
            continue
        for rate in rates[size] if isinstance(rates, Mapping) else rates:
            found += [
                Run(
                    task=facts.name, revision=facts.revision, batch_size=size, learning_rate=float(rate), seed=seed,
                    optimizer=optimizer or SGD(), schedule=schedule or Constant(), sampling=sampling or order(facts, size),
                    budget=budget, micro_batch_size=size, measurements=tuple(measurements), target=target,
                )
                for seed in seeds
            ]  # fmt: skip
    return Plan(tuple(found))


def order(facts: TaskFacts, batch_size: int) -> Reshuffle:
    """Return epoch shuffling with the last-batch policy of `runs`."""
    size = facts.train_size or batch_size
    return Reshuffle(LastBatch.WEIGHT if 2 * batch_size > size else LastBatch.DROP)


def sizes(facts: TaskFacts, scale: Scale) -> list[int]:
    """Return the common grid of batch sizes: 1, 4, 16, ... and the whole training set; from 4 on at smoke scale."""
    most = facts.train_size or 1024
    found = [4**power for power in range(0 if scale == "full" else 1, 12) if 4**power < most / 1.2]
    return [*found, most] if scale == "full" else [*found[::2], most]


def octaves(middle: float, below: int, above: int, step: float = 2.0) -> list[float]:
    """Return learning rates a factor of `step` apart around `middle`."""
    return [middle * step**power for power in range(-below, above + 1)]


def common_rates(facts: TaskFacts, batch_size: int, scale: Scale) -> list[float]:
    """Return the common grid of learning rates at a batch size, for plain SGD without momentum.

    On a test bed seven powers of 2, fixed before any data by the rule that the best rate rises at most in proportion
    to the batch size, and at least not at all. On a user's own task, of which nothing is known, nine powers of 4.
    """
    if not facts.is_bed:
        ladder = [4.0**power for power in range(-6, 3)]
        return ladder if scale == "full" else ladder[1::2]
    low = (
        -8 if batch_size == 1 else -6 if batch_size <= 4 else -5 if batch_size <= 16 else -4 if batch_size <= 64 else -3
    )
    ladder = [2.0**power for power in range(low, low + 7)]
    return ladder if scale == "full" else ladder[1::2]


def common_budget(scale: Scale) -> Budget:
    """Return the longer of 30 epochs and 2,000 steps: runs are read at equal epochs and at equal updates."""
    return Longest((Epochs(30), Steps(2000))) if scale == "full" else Longest((Epochs(4), Steps(80)))


def common_sweep(facts: TaskFacts, scale: Scale) -> Plan:
    """Return the sweep that most claims share: batch sizes x learning rates x seeds, plain SGD, constant schedule."""
    chosen = sizes(facts, scale)
    rates = {size: common_rates(facts, size, scale) for size in chosen}
    return runs(facts, batch_sizes=chosen, rates=rates, seeds=seeds(scale), budget=common_budget(scale))


def middle_size(facts: TaskFacts, scale: Scale) -> int:
    """Return the middle one of the common grid of batch sizes: 64 on most test beds."""
    grid = sizes(facts, scale)
    return grid[len(grid) // 2]


def common_row(facts: TaskFacts, scale: Scale, batch_size: int) -> Plan:
    """Return the runs of the common sweep at one batch size, for claims that only need its learning rate."""
    rates = common_rates(facts, batch_size, scale)
    return runs(facts, batch_sizes=[batch_size], rates=rates, seeds=seeds(scale), budget=common_budget(scale))
