"""Examples to a goal that all batch sizes share, and the sweep of learning rates per summed gradient that asks for them.

With the sum of a batch's gradients in place of their mean, a learning rate is one per example: the step at a batch size
B with the rate r per example is the step at the rate r B of the mean. Wilson and Martinez (2003) count in these rates.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from ..analysis.grid import Grid, Track
from ..bed import DIGITS, Bed
from ..budgets.epochs import Epochs
from ..budgets.longest import Longest
from ..budgets.steps import Steps
from ..claim import Exhibit, Scale
from ..finding import TaskFacts
from ..plan import Plan
from ..sampling import LastBatch
from ..samplings.reshuffle import Reshuffle
from ..statistics.censoring import crossing, smooth
from .protocol import common_sweep, runs, seeds
from .reading import Reader, arm_grid, at_end, chosen_rate, table, tuned

SHARE = 0.95  # of the way from the start to the best that the smallest batch size reaches
SUMMED_SIZES = (1, 10, 100, 900)  # and the whole training set
LARGEST, LEVELLED = 0.1, 5.0  # the middle of the rates per example: the smaller of the first and the second over B
WIDTH = 2  # rates on either side of the middle, in turn a factor of 3 and of 10/3 apart
BUDGET = Longest((Epochs(100), Steps(1500)))
SWEEP, WIDER = "sweep", "wider"


@final
@dataclass(frozen=True)
class Goal:
    """A value of a recorded quantity, and the side of it that is wanted."""

    quantity: str
    value: float
    direction: Literal["above", "below"]


def common_goal(grid: Grid, *, share: float = SHARE) -> Goal | None:
    """Return the goal that batch sizes are compared at, on the task's selection split; None if nothing was learnt.

    It lies a share of the way from the untrained model to the end of the smallest batch size's best learning rate.

    Args:
        grid: An arm.
        share: Of that way.
    """
    facts = grid.facts
    quantity = f"{facts.selection_split}_{facts.metric}"
    sign = 1 if facts.better == "above" else -1
    for size in grid.batch_sizes()[:1]:
        ends = grid.table(size, at_end(quantity))
        means = np.nan_to_num(sign * ends, nan=-np.inf).mean(1)
        best = int(np.argmax(means))
        if not np.isfinite(means[best]):
            return None
        start, end = (float(one[best].mean()) for one in (grid.table(size, _first(quantity)), ends))
        if sign * (end - start) > 0:
            return Goal(quantity, start + share * (end - start), facts.better)
    return None


def _first(quantity: str) -> Reader:
    def read(track: Track) -> float:
        values = track.values.get(quantity)
        return np.nan if values is None else float(values[0])

    return read


def examples_to(goal: Goal) -> Reader:
    """Return a reader of the examples seen until a quantity stays past the goal, at least one batch; infinite if never."""

    def read(track: Track) -> float:
        values = track.values.get(goal.quantity)
        if values is None or not track.completed:
            return np.inf
        found = crossing(track.examples, values, goal.value, goal.direction)
        return np.inf if found is None else max(found, _one_batch(track))

    return read


def examples_to_nearly_best(quantity: str, within: float, better: str) -> Reader:
    """Return a reader of the examples seen until a quantity stays within a distance of the best of its own run.

    Args:
        quantity: As recorded.
        within: In its unit.
        better: "above" or "below".
    """

    def read(track: Track) -> float:
        values = track.values.get(quantity)
        if values is None or not track.completed or not np.isfinite(values).all():
            return np.inf
        smoothed = smooth(values)
        near = smoothed.max() - within if better == "above" else smoothed.min() + within
        past = np.flatnonzero(smoothed >= near if better == "above" else smoothed <= near)
        return max(float(track.examples[past[0]]), _one_batch(track))

    return read


def _one_batch(track: Track) -> float:
    seen = track.examples[track.examples > 0]
    return float(seen[0]) if len(seen) else 1.0


def tuned_examples(grid: Grid, goal: Goal | None, *, read: Reader | None = None) -> np.ndarray:
    """Return examples to the goal at the rate that takes the fewest with the other seeds, shape (seed, batch size).

    NaN where the goal was not reached.

    Args:
        grid: An arm.
        goal: None: nothing is reached.
        read: What to read at that rate instead.
    """
    sizes = grid.batch_sizes()
    if goal is None:
        return np.full((len(grid.seeds), len(sizes)), np.nan)
    reached = examples_to(goal)
    found = table(grid, sizes, lambda size: tuned(grid, size, score=reached, read=read))
    return np.where(np.isfinite(found), found, np.nan)


def speech_bed(scale: Scale) -> Bed:
    """Return the bed of `summed_sweep`: spoken digits; at smoke scale the images that all claims share there."""
    if scale == "full":
        return Bed(data="spoken-digits", train=2048, hidden=(64,), activation="sigmoid", side=0)
    return DIGITS


def summed_sweep(facts: TaskFacts, scale: Scale, batch_sizes: Iterable[int] = ()) -> Plan:
    """Return the sweep in rates per example on a test bed; at smoke scale and on a user's own task the common sweep.

    Left-over examples of an epoch make a smaller batch with the same rate per example. The middle of the rates comes
    from pilot runs with other seeds: 0.1 per example up to batches of 50, then 5 per batch.

    Args:
        facts: Of the task.
        scale: Of the protocol.
        batch_sizes: The default is 1, 10, 100, 900 and the whole training set.
    """
    if scale == "smoke" or not facts.is_bed or facts.train_size is None:
        return common_sweep(facts, scale)
    chosen = tuple(batch_sizes) or (*SUMMED_SIZES, facts.train_size)
    places = {size: _middle(size) for size in chosen}
    return _summed(facts, scale, {size: range(at - WIDTH, at + WIDTH + 1) for size, at in places.items()})


def _summed(facts: TaskFacts, scale: Scale, places: Mapping[int, Iterable[int]]) -> Plan:
    rates = {size: [per_example(place) * size for place in some] for size, some in places.items()}
    return runs(
        facts, batch_sizes=rates, rates=rates, seeds=seeds(scale), budget=BUDGET,
        sampling=Reshuffle(LastBatch.WEIGHT),
    )  # fmt: skip


def _middle(batch_size: int) -> int:
    return round(2 * math.log10(min(LARGEST, LEVELLED / batch_size)))


def per_example(place: int) -> float:
    """Return a rate of the ladder ... 0.001, 0.003, 0.01, 0.03, 0.1 (place -2), 0.3, 1 (place 0), 3 ...."""
    return float(f"{'3' if place % 2 else '1'}e{place // 2}")


def wider(exhibit: Exhibit) -> Mapping[str, Plan]:
    """Return two more rates at every batch size whose fastest rate to the goal is the first or last of those tried.

    None on a user's own task and at smoke scale.
    """
    facts = exhibit.facts["main"]
    if exhibit.scale == "smoke" or not facts.is_bed:
        return {}
    grid = arm_grid(exhibit, SWEEP)
    goal = common_goal(grid)
    places = {size: _beyond(grid, size, goal) for size in grid.batch_sizes()} if goal else {}
    plan = _summed(facts, exhibit.scale, {size: some for size, some in places.items() if some})
    return {WIDER: plan} if len(plan) else {}


def _beyond(grid: Grid, size: int, goal: Goal) -> list[int]:
    rate, rates = chosen_rate(grid, size, score=examples_to(goal)), grid.rates(size)
    lowest = _middle(size) - WIDTH
    if rate == rates[-1]:
        return [lowest + len(rates), lowest + len(rates) + 1]
    return [lowest - 2, lowest - 1] if rate == rates[0] else []


def swept(exhibit: Exhibit) -> Grid:
    """Return the sweep with what was added to it as one grid."""
    both = (*exhibit.arms.get(SWEEP, ()), *exhibit.arms.get(WIDER, ()))
    return arm_grid(dataclasses.replace(exhibit, arms={SWEEP: both}), SWEEP)


def span_of_a_decade(sizes: list[int]) -> int:
    """Return the index of the largest size that is at most a tenth of the last one; 0 if there is none."""
    return max((index for index, size in enumerate(sizes) if 10 * size <= sizes[-1]), default=0)
