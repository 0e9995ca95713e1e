"""The same sweep read at several targets: how the critical batch size depends on how far one wants to get."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from ..curve import Curve
from ..finding import TargetFit
from .choice import Choice, choose
from .grid import Grid
from .target_curve import fit_curve

SHARES = (0.7, 0.8, 0.9)  # of the way from the start to the target
HARDER = 0.5  # of the way from the target to what every batch size reaches


def targets(grid: Grid, choices: Mapping[int, Choice], curve: Curve, *, level: float = 0.95) -> tuple[TargetFit, ...]:
    """Return fits at targets on the way to the chosen one, at it, and at one harder where all batch sizes get further.

    Args:
        grid: The sweep, with a target.
        choices: At that target.
        curve: A `Hyperbola`.
        level: Confidence level.
    """
    facts = grid.facts
    if facts.target_quantity is None or facts.target_value is None:
        return ()
    start, furthest = _ends(grid, facts.target_quantity)
    if not np.isfinite(start) or start == facts.target_value:
        return ()
    values = [start + share * (facts.target_value - start) for share in SHARES] + [facts.target_value]
    beyond = (furthest - facts.target_value) * (1 if facts.target_direction == "above" else -1)
    if beyond > 0:
        values.append(facts.target_value + HARDER * (furthest - facts.target_value))
    found = []
    for value in values:
        again = dataclasses.replace(grid, facts=dataclasses.replace(facts, target_value=float(value)))
        chosen = {size: choose(again, size) for size in again.batch_sizes()} if value != facts.target_value else choices
        fit = fit_curve(chosen, curve, level=level, thorough=False)
        found.append(TargetFit(float(value), fit.s_min, fit.e_min, fit.critical_batch_size, fit.reason))
    return tuple(found)


def _ends(grid: Grid, quantity: str) -> tuple[float, float]:
    """Return the mean value at the first look, and the best value that some run of every batch size had at its end."""
    sign = 1.0 if grid.facts.target_direction == "above" else -1.0
    first, last = [], []
    for size in grid.batch_sizes():
        tracks = [track for row in grid.tracks[size].values() for track in row.values() if quantity in track.values]
        ended = [track.values[quantity] for track in tracks if track.completed]
        if ended:
            first.append(float(np.mean([values[0] for values in ended])))
            last.append(max(sign * float(np.median(values[-3:])) for values in ended))
    return (float(np.mean(first)), sign * min(last)) if first else (np.nan, np.nan)
