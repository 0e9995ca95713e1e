"""The learning rates of one batch size: which is best, by steps to target, else by the metric at the end of the run."""

import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from ..statistics.censoring import smooth
from ..statistics.selection import worse_sides
from ..statistics.tobit import censored_means
from .grid import Grid, Track

BY_STEPS = "fewest steps to target"
BY_METRIC = "best metric at the end of the run (no learning rate reached the target with enough seeds)"
COARSE = 0.7  # log steps: twice as many
ENOUGH = 0.5  # of the seeds, that have to reach the target for a learning rate to count


@final
@dataclass(frozen=True, eq=False)
class Choice:
    """The learning rates of one batch size in order of size, their scores, and the best one.

    Attributes:
        rates: Shape (rate,); a single NaN where the rates are not known.
        scores: Shape (rate, seed), lower is better: log steps to target, or the metric; infinite where not reached,
            NaN where there is no run.
        bounds: Shape (rate, seed): log of the last step seen where the budget was spent before the target
            (right-censored), else NaN.
        best: Index of the best rate, None when no rate has a finite score.
        edge: Where the best may lie outside: "low", "high" or "none".
        criterion: What was minimised.
    """

    rates: np.ndarray
    scores: np.ndarray
    bounds: np.ndarray
    best: int | None
    edge: Literal["none", "low", "high"]
    criterion: str

    @property
    def best_rate(self) -> float | None:
        """Return the best learning rate of the grid."""
        return None if self.best is None else float(self.rates[self.best])

    @property
    def positions(self) -> np.ndarray:
        """Return log learning rates, shape (rate,); 0 for one that is not known."""
        return np.log(np.where(np.isnan(self.rates), 1.0, self.rates))

    def means(self, weights: np.ndarray) -> np.ndarray:
        """Return the mean score of every rate, shape (replicate, rate), for weights (replicate, seed) of the seeds.

        A run that spent its budget counts as "more steps than seen". A rate at which a run diverged, or fewer than
        half of the seeds got there, has an infinite score.
        """
        return _means(self.scores, self.bounds, weights)

    def is_coarse(self) -> bool:
        """Return whether both neighbours of the best rate take more than twice its steps: much may lie between them."""
        if self.best is None or self.criterion != BY_STEPS or not 0 < self.best < len(self.rates) - 1:
            return False
        means = self.means(np.ones((1, self.scores.shape[1])))[0]
        beside = means[[self.best - 1, self.best + 1]] - means[self.best]
        return bool(np.isfinite(beside).all() and (beside > COARSE).all())

    def error(self) -> float:
        """Return the standard error of a mean score, pooled over the rates that every seed finished; 0 if not known."""
        whole = self.scores[np.isfinite(self.scores).all(-1)]
        count = self.scores.shape[1]
        return float(np.sqrt(whole.var(axis=-1, ddof=1).mean() / count)) if len(whole) and count > 1 else 0.0

    def least_bound(self) -> float | None:
        """Return log steps that every learning rate needs at least in the mean, where few runs arrived; None if not known."""
        known = np.where(np.isnan(self.bounds), self.scores, self.bounds)
        whole = ~np.isinf(known).any(-1) & (~np.isnan(self.bounds)).any(-1)
        return float(np.nanmean(known[whole], axis=-1).min()) if whole.any() else None


def _means(scores: np.ndarray, bounds: np.ndarray, weights: np.ndarray) -> np.ndarray:
    censored = ~np.isnan(bounds)
    values = np.where(censored, bounds, scores)
    runs = ~np.isnan(values)
    got_there = (np.isfinite(scores) & runs).sum(-1) >= ENOUGH * np.maximum(runs.sum(-1), 1)
    return np.where(got_there, censored_means(values, censored, weights), np.inf)


def choose(grid: Grid, batch_size: int) -> Choice:
    """Return the choice among the learning rates tried at `batch_size`."""
    with np.errstate(divide="ignore"):
        scores, bounds = np.log(grid.steps_to_target[batch_size]), np.log(grid.last_seen[batch_size])
    found = choice_of(grid.rates(batch_size), scores, bounds)
    if found.best is not None:
        return found
    ends = grid.table(batch_size, lambda track: final_score(grid, track))
    return choice_of(grid.rates(batch_size), ends, np.full(ends.shape, np.nan), criterion=BY_METRIC)


def choice_of(rates: np.ndarray, scores: np.ndarray, bounds: np.ndarray, *, criterion: str = BY_STEPS) -> Choice:
    """Return the choice among `rates` (ascending) with these scores and bounds, each (rate, seed)."""
    means = _means(scores, bounds, np.ones((1, scores.shape[1])))[0]
    best = int(np.argmin(means)) if np.isfinite(means).any() else None
    below, above = worse_sides(scores, best)
    edge: Literal["none", "low", "high"] = "none"
    if best is not None and not (below and above):
        edge = "high" if below else "low"
    return Choice(rates, scores, bounds, best, edge, criterion)


def final_score(grid: Grid, track: Track) -> float:
    """Return the smoothed selection metric at the end of a run, signed so that lower is better; infinite if it died."""
    values = track.values.get(f"{grid.facts.selection_split}_{grid.facts.metric}")
    if values is None or not track.completed:
        return math.inf
    last = float(np.median(smooth(values)[-3:]))
    return -last if grid.facts.better == "above" else last


def extension(choice: Choice, factor: float, steps: int) -> list[float]:
    """Return the learning rates to try next, until the best is inside the bracket: `steps` more beyond the open edge.

    Where nothing trained at all both sides are open, unless every run failed with an error.
    """
    if np.isnan(choice.scores).all():
        return []
    lowest, highest = float(choice.rates[0]), float(choice.rates[-1])
    below = [lowest / factor**power for power in range(1, steps + 1)]
    above = [highest * factor**power for power in range(1, steps + 1)]
    if choice.best is None:
        return below + above
    return {"none": [], "low": below, "high": above}[choice.edge]
