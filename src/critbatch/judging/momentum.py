"""The common sweep once more, with momentum: claims about it share these runs."""

from collections.abc import Sequence

from ..budget import Budget
from ..budgets.epochs import Epochs
from ..budgets.longest import Longest
from ..budgets.steps import Steps
from ..claim import Scale
from ..finding import TaskFacts
from ..optimizers.sgd import SGD
from ..plan import Plan
from .protocol import common_budget, common_rates, octaves, runs, seeds, sizes

MOMENTUM = 0.9
LOWEST = {4: -6, 16: -4, 64: -2, 256: -1}  # power of 2 of the lowest effective rate on a test bed; 0 above
RATES = 5


def momentum_sweep(facts: TaskFacts, scale: Scale) -> Plan:
    """Return batch sizes x learning rates x seeds with heavy-ball momentum 0.9, from batches of 4 on.

    Momentum is compared at equal effective learning rates, rate/(1 - momentum). On a test bed there are five of them, a
    factor of 2 apart, about the best of a pilot run with another seed; elsewhere those of the common sweep. Large
    batches make 400 steps, enough for goals that plain SGD reaches in 500 steps of 16 examples.
    """
    chosen = [size for size in sizes(facts, scale) if size > 1]
    rates = {size: [rate * (1 - MOMENTUM) for rate in _effective(facts, size, scale)] for size in chosen}
    return runs(
        facts, batch_sizes=chosen, rates=rates, seeds=seeds(scale), budget=_budget(facts, scale),
        optimizer=SGD(momentum=MOMENTUM),
    )  # fmt: skip


def _effective(facts: TaskFacts, batch_size: int, scale: Scale) -> Sequence[float]:
    if scale == "smoke" or not facts.is_bed:
        return common_rates(facts, batch_size, scale)
    return octaves(2.0 ** LOWEST.get(batch_size, 0), 0, RATES - 1)


def _budget(facts: TaskFacts, scale: Scale) -> Budget:
    return Longest((Epochs(30), Steps(400))) if scale == "full" and facts.is_bed else common_budget(scale)
