"""What solutions look like at each batch size: sharpness, width along lines, gradient noise; seeds together."""

import math
from typing import Literal

import numpy as np
import polars as pl

from ..estimate import Estimate
from ..finding import SolutionPoint
from ..record import Evidence
from ..statistics.means import mean_estimate
from .grid import Track, tracks

About = Literal["sharpness", "width", "noise", "loss"]
MARK = "KeskarSharpness"  # a run whose solution was measured
MEASURES: tuple[tuple[str, About, bool, str, str], ...] = (
    ("sharpness, Metric 2.1", "sharpness", False, "keskar_sharpness[full,0.001]", "%"),
    ("largest Hessian eigenvalue", "sharpness", False, "hessian_largest_eigenvalue", "loss per squared parameter"),
    ("adaptive sharpness", "sharpness", True, "adaptive_sharpness[elementwise]", "loss"),
    ("training loss there", "loss", True, "train_loss", "loss"),
    ("width beyond the end of the line, at most 1", "width", False, "line_outward[here]", "lengths of the line"),
    ("the same at the small batch's end", "width", False, "line_outward[other]", "lengths of the line"),
    ("directions of the gradient noise", "noise", False, "noise_participation_ratio", "directions"),
)  # name, about, invariant, quantity, unit


def solutions(evidence: Evidence, *, level: float = 0.95) -> tuple[SolutionPoint, ...]:
    """Return geometric means over seeds of what was measured where runs ended, by batch size; nothing if nothing was.

    Args:
        evidence: Runs with the measurement `KeskarSharpness` are used, all others are not.
        level: Confidence level.
    """
    runs = evidence.runs.filter(pl.col("measurements").str.contains(MARK))
    if runs.is_empty():
        return ()
    looks = tracks(Evidence(runs, evidence.records.filter(pl.col("run").is_in(runs["run"].to_list()))))
    found = []
    for (size, rate), some in sorted(runs.group_by("batch_size", "learning_rate")):
        used = [looks[run] for run in some["run"] if run in looks and looks[run].completed]
        for name, about, invariant, quantity, unit in MEASURES:
            if any(quantity in track.values for track in used):
                value = _over_seeds(used, quantity, unit, name, level)
                found.append(SolutionPoint(int(size), float(rate), name, about, invariant, value))
    return tuple(found)


def _over_seeds(used: list[Track], quantity: str, unit: str, definition: str, level: float) -> Estimate:
    values = np.array([_last(track, quantity) for track in used])
    kept = values[np.isfinite(values) & (values > 0)]
    if not len(kept):
        return Estimate.missing("no run has a value above 0", unit=unit, definition=definition)
    return mean_estimate(kept, unit=unit, definition=definition, level=level, logarithmic=True)


def _last(track: Track, quantity: str) -> float:
    seen = track.values.get(quantity, np.array([]))
    seen = seen[np.isfinite(seen)]
    return float(seen[-1]) if len(seen) else math.nan
