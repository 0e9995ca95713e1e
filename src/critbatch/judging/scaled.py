"""A learning rate tuned at a small batch size, what becomes of it at larger ones, and what the ends of such runs say."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import stdtr

from ..analysis.grid import Track
from ..budget import Budget
from ..claim import Exhibit, Kind, Outcome, Part, Scale
from ..finding import TaskFacts
from ..optimizer import Optimizer
from ..plan import Plan
from ..record import Ending
from ..schedule import Schedule
from ..statistics.comparisons import holm
from .parts import LEVEL, equivalence, nothing
from .protocol import octaves, runs, seeds
from .reading import Reader, arm_grid, at_end, chosen_rate, worse

MIDDLE = 2.0**-5  # of the learning rates tried on a test bed, with momentum 0.9
MOMENTUM = 8.0  # by which rates without momentum are divided, on a task of which nothing is known


def tuning(
    facts: TaskFacts, scale: Scale, batch_size: int, *, budget: Budget, optimizer: Optimizer, schedule: Schedule
) -> Plan:  # fmt: skip
    """Return the runs among which the learning rate of a small batch size is chosen, for SGD with momentum 0.9.

    On a test bed seven powers of 2, fixed before any data; on a user's own task nine powers of 4.

    Args:
        facts: Of the task.
        scale: Of the protocol.
        batch_size: At which rates are tuned.
        budget: Of every run.
        optimizer: With momentum 0.9.
        schedule: Of every run.
    """
    rates = octaves(MIDDLE, 3, 3) if facts.is_bed else [4.0**power / MOMENTUM for power in range(-6, 3)]
    some = rates if scale == "full" else rates[::3]
    return runs(
        facts, batch_sizes=[min(batch_size, facts.train_size or batch_size)], rates=some, seeds=seeds(scale),
        budget=budget, optimizer=optimizer, schedule=schedule,
    )  # fmt: skip


def base_rate(exhibit: Exhibit, arm: str, *, role: str = "main") -> float | None:
    """Return the learning rate of a tuning arm that ends best on the selection split; None if none trained."""
    grid = arm_grid(exhibit, arm, role=role)
    if not grid.batch_sizes():
        return None
    facts = grid.facts
    score = worse(grid, at_end(f"{facts.selection_split}_{facts.metric}"))
    return chosen_rate(grid, grid.batch_sizes()[0], score=score)


def end_or_start(quantity: str) -> Reader:
    """Return a reader of a run's end; of its start for a run that diverged, which has learnt nothing."""
    end = at_end(quantity)

    def read(track: Track) -> float:
        values = track.values.get(quantity)
        if track.ending is Ending.DIVERGED and values is not None and np.isfinite(values[0]):
            return float(values[0])
        return end(track)

    return read


def ends(exhibit: Exhibit, arm: str, quantity: str, *, role: str = "main") -> dict[int, np.ndarray]:
    """Return where the runs of an arm with one learning rate at each batch size end: by batch size, shape (seed,).

    Seeds are all that any arm has, in order, so that arms pair; NaN where a run is missing. A run that diverged counts
    as untrained.

    Args:
        exhibit: The evidence.
        arm: None of this name: nothing.
        quantity: As recorded.
        role: Of the arm's task.
    """
    if arm not in exhibit.arms:
        return {}
    grid = arm_grid(exhibit, arm, role=role)
    everyone = sorted({run.seed for plan in exhibit.arms.values() for run in plan})
    found = {}
    for size in grid.batch_sizes():
        row = np.full(len(everyone), np.nan)
        row[[everyone.index(seed) for seed in grid.seeds]] = grid.table(size, end_or_start(quantity))[0]
        found[size] = row
    return found


def turned(facts: TaskFacts) -> float:
    """Return 1 for a metric whose higher values are better, else -1."""
    return 1.0 if facts.better == "above" else -1.0


def all_equal(
    name: str, losses: Sequence[np.ndarray], *, margin: float, unit: str, definition: str, counts: bool = True
) -> Part:  # fmt: skip
    """Return the test of "none of these differs from nothing by more than the margin", told by the one that is furthest.

    EQUIVALENT if each is; REFUTED if one lies outside, its p-value adjusted for their number (Holm).

    Args:
        name: Of the statement, in words.
        losses: Each of shape (seed,), paired differences.
        margin: Fixed beforehand, in their unit.
        unit: Of the differences.
        definition: What they are, in words.
        counts: Whether the claim's outcome depends on it.
    """
    told = {"unit": unit, "definition": definition, "counts": counts}
    tested = [equivalence(name, one, margin=margin, **told) for one in losses]
    known = [part for part in tested if part.effect.value is not None]
    if not known or len(known) < len(tested):
        reason = "a run is missing or has fewer than two seeds"
        return nothing(name, Kind.EQUIVALENCE, reason, unit, definition, f"within ±{margin:g}", counts=counts)
    outside = holm([_p_outside(one[np.isfinite(one)], margin) for one in losses])
    furthest = known[int(np.argmax([abs(part.effect.value or 0.0) for part in known]))]
    outcome = Outcome.INCONCLUSIVE
    if min(outside) < 1 - LEVEL:
        outcome, furthest = Outcome.REFUTED, known[int(np.argmin(outside))]
    elif all(part.outcome is Outcome.EQUIVALENT for part in known):
        outcome = Outcome.EQUIVALENT
    return Part(
        name, Kind.EQUIVALENCE, outcome, furthest.effect, f"each {furthest.threshold}", furthest.detectable,
        furthest.p_value, counts,
    )  # fmt: skip


def _p_outside(values: np.ndarray, margin: float) -> float:
    """Return the two-sided p-value of the hypothesis that the mean lies within the margin."""
    error = values.std(ddof=1) / len(values) ** 0.5
    beyond = abs(values.mean()) - margin
    if beyond <= 0 or error == 0:
        return float(beyond <= 0)
    return float(2 * stdtr(len(values) - 1, -beyond / error))


def largest_kept(losses: Mapping[int, np.ndarray], margin: float) -> int:
    """Return the largest factor up to which no mean loss exceeds the margin; 1 if already the smallest one's does.

    Args:
        losses: Of the metric, by factor above 1, shape (seed,); higher is worse.
        margin: In their unit.
    """
    kept = 1
    for factor in sorted(losses):
        if not losses[factor].mean() <= margin:
            break
        kept = factor
    return kept
