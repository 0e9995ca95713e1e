"""The best learning rate of each batch size: by steps to target, else by the metric at the end of the run."""

import math
from dataclasses import dataclass
from typing import Literal, final

import numpy as np

from ..estimate import Estimate
from ..finding import LearningRateRule, RatePoint
from ..scaling_rule import ScalingRule
from ..statistics.bootstrap import expanded_interval, seed_draws
from ..statistics.censoring import smooth
from ..statistics.selection import mean_scores, vertex, worse_sides
from .grid import Grid, Track

DRAWS = 2000
BY_STEPS = "fewest steps to target"
BY_METRIC = "best metric at the end of the run (no learning rate reached the target with every seed)"


@final
@dataclass(frozen=True, eq=False)
class Choice:
    """The learning rates of one batch size in order of size, their scores, and the best one.

    Attributes:
        rates: Shape (rate,).
        scores: Shape (rate, seed), lower is better: log steps to target, or the metric; infinite where not reached.
        best: Index of the best rate, None when no rate has a finite score.
        edge: Where the best may lie outside: "low", "high" or "none".
        criterion: What was minimised.
    """

    rates: np.ndarray
    scores: np.ndarray
    best: int | None
    edge: Literal["none", "low", "high"]
    criterion: str

    @property
    def best_rate(self) -> float | None:
        """Return the best learning rate of the grid."""
        return None if self.best is None else float(self.rates[self.best])


def choose(grid: Grid, batch_size: int) -> Choice:
    """Return the choice among the learning rates tried at `batch_size`."""
    with np.errstate(divide="ignore"):
        scores, criterion = np.log(grid.steps_to_target[batch_size]), BY_STEPS
    if not np.isfinite(mean_scores(scores)).any():
        scores, criterion = grid.table(batch_size, lambda track: final_score(grid, track)), BY_METRIC
    means = mean_scores(scores)
    best = int(np.argmin(means)) if np.isfinite(means).any() else None
    below, above = worse_sides(scores)
    edge: Literal["none", "low", "high"] = "none"
    if best is not None and not (below and above):
        edge = "high" if below else "low"
    return Choice(grid.rates(batch_size), scores, best, edge, criterion)


def final_score(grid: Grid, track: Track) -> float:
    """Return the smoothed selection metric at the end of a run, signed so that lower is better; infinite if it died."""
    values = track.values.get(f"{grid.facts.selection_split}_{grid.facts.metric}")
    if values is None or not track.completed:
        return np.inf
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


def best_rate_draws(choice: Choice, picks: np.ndarray) -> np.ndarray:
    """Return the best learning rate (vertex of a parabola in logs) of resampled seeds `picks` (draw, seed)."""
    scores = mean_scores(choice.scores[:, picks]).T
    dither = np.random.default_rng(1).uniform(-1, 1, len(picks))
    return np.exp(vertex(np.log(choice.rates), scores, dither))


def best_rate(choice: Choice, *, level: float = 0.95) -> Estimate:
    """Return the best learning rate between the grid's points, with a bootstrap interval over seeds."""
    definition = f"learning rate with the {choice.criterion}; vertex of a parabola through the best and its neighbours"
    count = choice.scores.shape[1]
    if choice.best is None:
        return Estimate.missing(
            "no learning rate trained without diverging", unit="learning rate", definition=definition, level=level
        )
    value = float(np.exp(vertex(np.log(choice.rates), mean_scores(choice.scores)[None])[0]))
    if count < 2:
        return Estimate(value, None, None, level, count, "learning rate", "one seed: no interval", definition)
    draws = best_rate_draws(choice, seed_draws(count, DRAWS, np.random.default_rng(0)))
    low, high = expanded_interval(draws[np.isfinite(draws)], count=count, level=level)
    below, above = worse_sides(choice.scores)  # beyond an open edge nothing was tried: the interval has no end there
    ends = (low if below else None, high if above else None)
    return Estimate(value, *ends, level, count, "learning rate", "expanded percentile bootstrap", definition)


def learning_rate_rule(
    choices: dict[int, Choice], rules: dict[str, ScalingRule], *, level: float = 0.95
) -> LearningRateRule:  # fmt: skip
    """Return the exponent of the best learning rate against the batch size, and which named rules fit it.

    Batch sizes whose best learning rate is at the edge of the grid, or which never reached the target, do not count.

    Args:
        choices: By batch size.
        rules: The rules to compare with, by name.
        level: Confidence level.
    """
    definition = "slope of log best learning rate on log batch size, least squares"
    points = tuple(RatePoint(size, best_rate(choice, level=level)) for size, choice in sorted(choices.items()))
    used = {
        size: choice
        for size, choice in sorted(choices.items())
        if choice.best is not None and choice.edge == "none" and choice.criterion == BY_STEPS
    }
    count = min((choice.scores.shape[1] for choice in used.values()), default=0)
    if len(used) < 3 or count < 2:
        reason = (
            f"needs at least 3 batch sizes whose best learning rate lies inside its grid and 2 seeds, "
            f"got {len(used)} batch sizes and {count} seeds"
        )
        missing = Estimate.missing(reason, unit="dimensionless", definition=definition, level=level)
        return LearningRateRule(missing, None, (), reason, points)
    logs = np.log(np.array(list(used)))
    picks = seed_draws(count, DRAWS, np.random.default_rng(0))
    with np.errstate(invalid="ignore"):
        draws = _slope(logs, np.stack([np.log(best_rate_draws(choice, picks)) for choice in used.values()], axis=-1))
    values = np.array([math.log(best_rate(choice).value or math.nan) for choice in used.values()])
    slope = float(_slope(logs, values[None])[0])
    low, high = expanded_interval(draws[np.isfinite(draws)], count=count, level=level)
    exponent = Estimate(
        slope, low, high, level, count, "dimensionless", "least squares, expanded percentile bootstrap", definition
    )
    nearest = min(rules, key=lambda name: abs(rules[name].exponent - slope))
    inside = tuple(name for name, rule in rules.items() if low <= rule.exponent <= high)
    words = (
        f"best learning rate ~ B^{slope:.2f} [{low:.2f}, {high:.2f}] over {len(used)} batch sizes "
        f"({min(used)} to {max(used)}); nearest named rule: {nearest.replace('_', ' ')}"
        + ("" if nearest in inside else ", which the interval excludes")
    )
    return LearningRateRule(exponent, nearest, inside, words, points)


def _slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    centred = x - x.mean()
    return (y * centred).sum(-1) / (centred**2).sum()
