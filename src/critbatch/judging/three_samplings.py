"""Three ways to draw batches, trained side by side: with replacement, in a new order every epoch, the same for ever."""

from collections.abc import Mapping
from typing import final

import numpy as np

from ..bed import Bed
from ..budgets.steps import Steps
from ..claim import Exhibit, Part, Scale
from ..finding import TaskFacts
from ..plan import Plan
from ..samplings.partition import Partition
from ..samplings.with_replacement import WithReplacement
from .pairs import BySeed, differences, stacked, tuned_by_seed
from .parts import accuracy_margin, band, direction, slope_estimate
from .protocol import order, runs, seeds
from .reading import arm_grid, at_end, worse

WITH, RESHUFFLED, PARTITIONED = "with replacement", "reshuffled", "partitioned"
ROLE = "samplings"
UPDATES = {"full": 1000, "smoke": 40}
PARTS_OF_THE_SET = {"full": (10, 4, 2, 1), "smoke": (64, 1)}
RATES = {"full": (0.25, 0.5, 1.0), "smoke": (0.5,)}


def sampling_bed(scale: Scale) -> Bed:
    """Return what the samplings are compared on: small, so that a batch that is the whole training set costs little."""
    if scale == "full":
        return Bed(train=500, side=7, hidden=(32,))
    return Bed(data="digits", train=256, hidden=(32,), side=8)


def sampling_arms(facts: TaskFacts, scale: Scale) -> Mapping[str, Plan]:
    """Return the same grid for each sampling: a tenth to the whole of the training set, at equal updates.

    Args:
        facts: Of the task.
        scale: Of the plan.
    """
    found = {arm: Plan(()) for arm in (WITH, RESHUFFLED, PARTITIONED)}
    for part in PARTS_OF_THE_SET[scale]:
        size = max((facts.train_size or 1) // part, 1)
        usual = order(facts, size)
        samplings = (WithReplacement(), usual, Partition(usual.last_batch))
        for arm, sampling in zip(found, samplings, strict=True):
            found[arm] += runs(
                facts, batch_sizes=[size], rates=RATES[scale], seeds=seeds(scale), budget=Steps(UPDATES[scale]),
                sampling=sampling,
            )  # fmt: skip
    return found


@final
class Samplings:
    """Test metrics of the three samplings at equal updates, at the learning rate that is best for the other seeds.

    Args:
        exhibit: With the arms of `sampling_arms`.
        role: Of their task.
    """

    def __init__(self, exhibit: Exhibit, role: str = ROLE) -> None:
        self.facts = exhibit.facts[role]
        grids = {arm: arm_grid(exhibit, arm, role=role) for arm in (WITH, RESHUFFLED, PARTITIONED)}
        self.sizes = sorted({size for grid in grids.values() for size in grid.batch_sizes()})
        metric = self.facts.metric
        self._values = {
            arm: {
                size: tuned_by_seed(
                    grid, size, score=worse(grid, at_end(f"{self.facts.selection_split}_{metric}")),
                    read=at_end(f"test_{metric}"),
                )
                for size in self.sizes
            }
            for arm, grid in grids.items()
        }  # fmt: skip

    def lead(self, arm: str, rival: str, size: int) -> np.ndarray:
        """Return by how much an arm tests better than its rival at a batch size, shape (seed,)."""
        sign = 1.0 if self.facts.better == "above" else -1.0
        return sign * differences(self._values[arm].get(size, {}), self._values[rival].get(size, {}))

    def leads(self, arm: str, rival: str) -> np.ndarray:
        """Return the same at every batch size of `sizes`, shape (seed, size); NaN where a seed has none."""
        found: dict[float, BySeed] = {}
        sign = 1.0 if self.facts.better == "above" else -1.0
        for size in self.sizes:
            one, other = self._values[arm][size], self._values[rival][size]
            found[size] = {seed: sign * (one[seed] - other[seed]) for seed in one.keys() & other.keys()}
        return stacked(found)

    def trend(self, *, counts: bool = True) -> Part:
        """Return the test of "replacement gains on reshuffling, the more the nearer the batch is to the whole set"."""
        estimate = slope_estimate(
            np.log2(np.array(self.sizes, dtype=float)), self.leads(WITH, RESHUFFLED),
            unit=f"test {self.facts.metric} per doubling",
            definition="slope on log2 batch size of the test metric with replacement less that of reshuffling",
        )  # fmt: skip
        name = "drawing with replacement gains more on reshuffling as batches near the training set"
        return band(name, estimate, 0.0, np.inf, counts=counts)

    def whole_set(self, rival: str = RESHUFFLED, *, counts: bool = True) -> Part:
        """Return the test of "with replacement tests better" at the largest batch size."""
        values = self.lead(WITH, rival, self.sizes[-1]) if self.sizes else np.array([])
        return direction(
            f"at the largest batch, drawn with replacement tests better than {rival}", values,
            unit=f"test {self.facts.metric}", margin=accuracy_margin(self.facts.test_size), counts=counts,
            definition=f"test metric with replacement less {rival}, batch of the whole training set's size",
        )  # fmt: skip
