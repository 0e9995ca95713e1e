"""A target for a sweep whose user named none."""

import dataclasses

import numpy as np

from ..finding import TaskFacts
from ..statistics.selection import mean_scores
from .choice import final_score
from .grid import Grid

MARGIN = 0.05


def with_target(grid: Grid) -> Grid:
    """Return the grid with a target, chosen from the sweep itself where the task has none.

    The target is what every batch size reached at its best learning rate, less 5% of the way from the start: the
    hardest value that all batch sizes can be compared at. Being chosen after the runs it favours none of them by name,
    but it moves with the batch sizes that were tried.

    Args:
        grid: The sweep; its facts may lack a target.
    """
    facts = grid.facts
    if facts.target_quantity is not None:
        return grid
    quantity = f"{facts.selection_split}_{facts.metric}"
    sign = -1.0 if facts.better == "above" else 1.0
    ends, starts = [], []
    for size in grid.batch_sizes():
        scores = mean_scores(grid.table(size, lambda track: final_score(grid, track)))
        first = grid.table(size, lambda track: track.values[quantity][0] if quantity in track.values else np.nan)
        if np.isfinite(scores).any():
            ends.append(sign * float(scores.min()))
            starts.append(float(np.nanmean(first)))
    if not ends:
        return grid
    start, worst = float(np.mean(starts)), max(ends, key=lambda end: sign * end)
    value = worst - MARGIN * (worst - start)
    chosen: TaskFacts = dataclasses.replace(
        facts,
        target_quantity=quantity,
        target_value=float(value),
        target_direction=facts.better,
        target_origin="chosen from the sweep: what every batch size reached when tuned, less 5% of the way",
    )
    return dataclasses.replace(grid, facts=chosen)
