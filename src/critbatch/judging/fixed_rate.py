"""Sweeps over the batch size at one learning rate with momentum, of which some batch sizes may not train at all.

The protocol of Smith and Le (2018), arXiv:1710.06451, made small: 1,000 images, momentum 0.9, equal updates.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..analysis.grid import Grid, Track
from ..bed import DIGITS, Bed
from ..budgets.steps import Steps
from ..claim import Scale
from ..finding import TaskFacts
from ..optimizers.sgd import SGD
from ..plan import Plan
from .protocol import runs, seeds
from .reading import at_end, survived
from .scaled import turned

MOMENTUM = SGD(momentum=0.9)
RATE = 2.0**-4
UPDATES = {"full": 4000, "smoke": 100}  # of SL-1
FEWER = {"full": 2000, "smoke": 100}  # of the others, which train many times as much
BUDGET = "equal updates (2,000)"
FIXED = "one rate for all, 2^-4 with momentum 0.9"


def bed_of(scale: Scale, train: int = 1000) -> Bed:
    """Return the bed: 1,000 images and 200 hidden units stand for 800."""
    return Bed(train=train, hidden=(200,)) if scale == "full" else dataclasses.replace(DIGITS, train=min(train, 1000))


def ladder(facts: TaskFacts, scale: Scale, most: int = 512) -> list[int]:
    """Return powers of 2 up to `most`, and the whole training set if it has at most 1,024 examples."""
    size = facts.train_size or most
    powers = [2**power for power in range(int(np.log2(most)) + 1) if 2**power < size]
    powers = powers if scale == "full" else powers[3::3]
    return [*powers, size] if size <= 2 * most else powers


def swept(
    facts: TaskFacts, scale: Scale, updates: int, rates: Sequence[float] = (RATE,), most: int = 512
) -> Plan:  # fmt: skip
    """Return the runs at every batch size of the ladder, at the same rates."""
    return runs(
        facts, batch_sizes=ladder(facts, scale, most), rates=rates, seeds=seeds(scale), budget=Steps(updates),
        optimizer=MOMENTUM,
    )  # fmt: skip


def metrics(grid: Grid, split: str, rate: float | None = None) -> tuple[list[int], np.ndarray]:
    """Return the batch sizes at which every seed learnt something, and the metric there, shape (seed, batch size).

    Values are turned so that higher is better. A batch size is unstable if a seed diverged or ended with a training loss
    no lower than its first one.

    Args:
        grid: Of one task.
        split: Of the metric.
        rate: Which one; None where there is only one.
    """
    read = at_end(f"{split}_{grid.facts.metric}")
    sizes, columns = [], []
    for size in grid.batch_sizes():
        rates = grid.rates(size)
        row = int(np.abs(rates - (rates[0] if rate is None else rate)).argmin())
        if rate is not None and not np.isclose(rates[row], rate):
            continue
        learnt, values = (grid.table(size, one)[row] for one in (_learnt, read))
        if learnt.all() and np.isfinite(values).all():
            sizes.append(size)
            columns.append(turned(grid.facts) * values)
    return sizes, np.stack(columns, 1) if columns else np.empty((len(grid.seeds), 0))


def _learnt(track: Track) -> float:
    losses = track.values["train_loss"]
    return float(survived(track) and losses[-1] < losses[0])


def by_halves(scores: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return each seed's value at the choice that is best for the other half of the seeds, shape (seed,).

    Args:
        scores: Shape (seed, choice), higher is better.
        values: Of the same shape.
    """
    odd = np.arange(len(values)) % 2 == 1
    chosen = (
        np.array([scores[~odd].mean(0).argmax(), scores[odd].mean(0).argmax()]) if len(values) > 1 else np.zeros(2, int)
    )
    return values[np.arange(len(values)), chosen[np.where(odd, 0, 1)]]
