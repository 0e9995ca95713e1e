"""Steps to a goal against batch size, learning rates tuned at each: the goal, the curve's parts, and its critical size."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..analysis.choice import Choice, choose
from ..analysis.grid import Grid
from ..analysis.heights import Heights, fitted, heights
from ..analysis.target_choice import with_target
from ..curves.hyperbola import Hyperbola
from ..estimate import Estimate, short
from ..statistics.resampling import replicate_estimate
from .parts import LEVEL
from .reading import at, tuned, worse

REFERENCE = 16  # batch size that sets the goal
FEWEST_SIZES = 4
TOO_FEW = f"fewer than {FEWEST_SIZES} batch sizes reach the goal, or fewer than two seeds"


def with_one_goal(grids: Sequence[Grid], *, updates: float | None = None) -> list[Grid]:
    """Return the grids with one goal on the task's selection metric: the user's own, or one that all batch sizes reach.

    It is the easier of two: what the batch size nearest to 16 of the first grid has after `updates` steps at its best
    learning rate; and what every batch size of every grid reaches, less 5% of the way from the start
    (`critbatch.analysis.target_choice`), so that nowhere it lies within the noise about a plateau.

    Args:
        grids: Of one task, or of tasks with one metric.
        updates: Of the reference batch size; at most a quarter of its runs count. None: the second goal alone.
    """
    if any(grid.facts.target_quantity is not None for grid in grids):
        return list(grids)
    values = [one.facts.target_value for one in map(with_target, grids) if one.facts.target_value is not None]
    if not values:
        return list(grids)
    reference = None if updates is None else _reference(grids[0], updates)
    values += [] if reference is None else [reference]
    easiest = min(values) if grids[0].facts.better == "above" else max(values)
    return [_with_value(grid, easiest) for grid in grids]


def _reference(grid: Grid, updates: float) -> float | None:
    sizes = grid.batch_sizes()
    if not sizes:
        return None
    size = min(sizes, key=lambda one: abs(math.log(one / REFERENCE)))
    ends = grid.table(size, lambda track: float(track.step[-1]) if track.completed else np.nan)
    if not np.isfinite(ends).any():
        return None
    quantity = f"{grid.facts.selection_split}_{grid.facts.metric}"
    read = at("updates", min(updates, float(np.nanmax(ends)) / 4), quantity, grid.facts)
    values = tuned(grid, size, score=worse(grid, read), read=read)
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else None


def _with_value(grid: Grid, value: float) -> Grid:
    facts = dataclasses.replace(
        grid.facts, target_quantity=f"{grid.facts.selection_split}_{grid.facts.metric}", target_value=float(value),
        target_direction=grid.facts.better, target_origin="chosen by the claim",
    )  # fmt: skip
    return dataclasses.replace(grid, facts=facts)


def choices(grid: Grid) -> dict[int, Choice]:
    """Return the choice among the learning rates at each batch size."""
    return {size: choose(grid, size) for size in grid.batch_sizes()}


def log_critical(chosen: Mapping[int, Choice]) -> tuple[np.ndarray, Heights] | None:
    """Return log E_min/S_min of the fitted hyperbola, (replicate,), and what it was fitted to; None if there is none.

    NaN in replicates without a levelling-off. See `inverse_critical` where that matters.

    Args:
        chosen: By batch size, the same seeds in each.
    """
    found = inverse_critical(chosen)
    if found is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(found[0] > 0, -np.log(found[0]), np.nan), found[1]


def inverse_critical(chosen: Mapping[int, Choice]) -> tuple[np.ndarray, Heights] | None:
    """Return S_min/E_min of the fitted hyperbola, (replicate,), at or below 0 where no levelling-off is seen.

    Row 0 is from all seeds, the others leave out one each. The inverse, since the critical batch size itself has no
    finite value where steps do not level off.

    Source: McCandlish et al. (2018), arXiv:1812.06162, Equations 2.11 and 2.12.

    Args:
        chosen: By batch size, the same seeds in each.

    Returns:
        In 1/examples, with the steps that it was fitted to; None with too few batch sizes or seeds.
    """
    found = heights(chosen, paired=True)
    if (~found.censored).sum() < FEWEST_SIZES or len(found.groups) != 1 or found.count < 2:
        return None
    s_min, e_min = fitted(Hyperbola(), found).T
    if not (e_min > 0).all():
        return None
    return s_min / e_min, found


def local_slope(found: Heights, at_ends: np.ndarray, *, definition: str) -> Estimate:
    """Return the slope of log steps on log batch size over some of the batch sizes, with the jackknife's interval.

    Args:
        found: Log steps.
        at_ends: Shape (size,): which batch sizes.
        definition: In words.
    """
    facts = {"unit": "dimensionless", "definition": definition, "level": LEVEL, "count": found.count}
    if at_ends.sum() < 2 or found.censored[at_ends].any() or not found.groups:
        return Estimate.missing("fewer than two of these batch sizes reach the goal, or fewer than two seeds", **facts)
    x = np.log(found.sizes[at_ends])
    shares = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    values = found.logs[:, at_ends] @ shares
    return replicate_estimate(values, found.groups, method=f"least squares, {found.method}", **facts)


def goal_in_words(grid: Grid) -> str:
    """Return the goal of a grid as a note."""
    facts = grid.facts
    if facts.target_value is None:
        return "no goal: nothing was learnt at any batch size"
    return f"goal: {facts.target_quantity} of {short(facts.target_value)}"


def log_steps_by_seed(chosen: Choice) -> np.ndarray:
    """Return what each seed says of log steps to the goal at the best learning rate, shape (seed,); empty if unknown.

    Pseudo-values of the jackknife: their mean and its standard error are the estimate's, which takes the learning rates
    together by a parabola.

    Source: Tukey (1958), Annals of Mathematical Statistics 29, 614.

    Args:
        chosen: The learning rates of one batch size.
    """
    found = heights({1: chosen}, paired=True)
    if not found.groups or found.censored.any():
        return np.array([])
    logs = found.logs[:, 0]
    values = found.count * logs[0] - (found.count - 1) * logs[1:]
    return np.where(np.isfinite(values), values, np.nan)
