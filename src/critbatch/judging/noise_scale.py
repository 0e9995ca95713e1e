"""The simple noise scale along runs that measured its two moments."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from ..analysis.grid import Track
from ..analysis.noise_along import SQUARED_NORM, TRACE
from ..claim import Exhibit, Scale
from ..finding import TaskFacts
from ..measurements.noise_moments import NoiseMoments
from ..plan import Plan
from ..statistics.resampling import replicated
from .protocol import common_budget, middle_size, runs
from .reading import arm_grid, at_end, chosen_rate, worse

EXAMPLES = 2048  # per look: all of the training set on test beds, where the moments are then exact
PER_DECADE = {"full": 10, "smoke": 5}
NOISE = "noise"  # the arm


@final
@dataclass(frozen=True, eq=False)
class NoiseTracks:
    """The moments of runs that differ in the seed only, at the looks that all of them have.

    Attributes:
        steps: Shape (look,).
        traces: tr(Sigma), shape (seed, look).
        squared_norms: |G|^2 of the training set, shape (seed, look).
        losses: Training loss, shape (seed, look).
    """

    steps: np.ndarray
    traces: np.ndarray
    squared_norms: np.ndarray
    losses: np.ndarray

    @property
    def scales(self) -> np.ndarray:
        """Return each seed's noise scale at each look, in examples, shape (seed, look); NaN where |G|^2 is not above 0."""
        return positive_ratio(self.traces, self.squared_norms)

    def pooled(self) -> np.ndarray:
        """Return the noise scale of all seeds together, and without each seed, shape (replicate, look)."""
        return positive_ratio(replicated(self.traces), replicated(self.squared_norms))


def positive_ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Return top / bottom where both are above 0, else NaN."""
    known = (top > 0) & (bottom > 0)
    return np.where(known, top / np.where(known, bottom, 1.0), np.nan)


def noise_arm(exhibit: Exhibit, arm: str) -> Mapping[str, Plan]:
    """Return runs at the middle batch size and its best learning rate in `arm`, with the moments measured along them."""
    facts, scale = exhibit.facts["main"], exhibit.scale
    grid = arm_grid(exhibit, arm)
    size = middle_size(facts, scale)
    if size not in grid.tracks:
        return {}
    best = chosen_rate(grid, size, score=worse(grid, at_end(f"{facts.selection_split}_{facts.metric}")))
    if best is None:
        return {}
    plan = runs(
        facts, batch_sizes=[size], rates=[best], seeds=grid.seeds, budget=common_budget(scale),
        measurements=[moments(facts, scale)],
    )  # fmt: skip
    return {NOISE: plan}


def moments(facts: TaskFacts, scale: Scale) -> NoiseMoments:
    """Return the measurement: of the whole training set where it is not too large."""
    return NoiseMoments(examples=min(facts.train_size or EXAMPLES, EXAMPLES), per_decade=PER_DECADE[scale])


def noise_tracks(exhibit: Exhibit, arm: str, *, role: str = "main") -> NoiseTracks | None:
    """Return what the runs of an arm with one batch size and learning rate measured, or None if nothing."""
    if not exhibit.arms.get(arm):
        return None
    grid = arm_grid(exhibit, arm, role=role)
    found = [
        track for rates in grid.tracks.values() for row in rates.values() for track in row.values() if track.completed
    ]
    columns = [_columns(track) for track in found]
    columns = [one for one in columns if len(one)]
    if not columns:
        return None
    steps = sorted(set.intersection(*(set(one[:, 0]) for one in columns)))
    table = np.stack([one[np.isin(one[:, 0], steps)] for one in columns])
    return NoiseTracks(np.array(steps), *np.moveaxis(table[..., 1:], -1, 0)) if steps else None


def _columns(track: Track) -> np.ndarray:
    """Return step, trace, squared norm and training loss at the looks that have the moments, shape (look, 4)."""
    if any(name not in track.values for name in (TRACE, SQUARED_NORM, "train_loss")):
        return np.empty((0, 4))
    trace, norm = track.values[TRACE], track.values[SQUARED_NORM]
    seen = np.isfinite(trace) & np.isfinite(norm)
    steps, losses = known(track, "train_loss")
    here = track.step[seen]
    return np.stack([here, trace[seen], norm[seen], np.interp(np.log1p(here), np.log1p(steps), losses)], -1)


def known(track: Track, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps and values of a quantity at the looks that have it."""
    values = track.values.get(quantity, np.full(len(track.step), np.nan))
    there = np.isfinite(values)
    return track.step[there], values[there]


def mean_over_steps(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the time average of `values` (row, look) over the steps between looks, shape (row,).

    NaN with fewer than two looks. A look with a NaN in any row is left out of all rows.
    """
    there = np.isfinite(values).all(0)
    if there.sum() < 2:
        return np.full(len(values), np.nan)
    apart, kept = np.diff(steps[there]), values[..., there]
    return np.asarray(((kept[..., 1:] + kept[..., :-1]) / 2 * apart).sum(-1) / apart.sum())
