"""The best learning rate of each batch size, and how it follows the batch size."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..estimate import Estimate, short
from ..finding import LearningRateRule, RatePoint, RuleTest
from ..scaling_rule import ScalingRule
from ..statistics.lack_of_fit import lack_of_fit
from ..statistics.means import margin
from ..statistics.resampling import Group, leave_one_out, replicate_estimate
from ..statistics.selection import worse_sides
from .choice import BY_STEPS, Choice
from .heights import bottom

UNIT = "learning rate"
FEWEST_SIZES = 3
WIDE = 0.5  # of the valley's weights: a lopsided valley moves all batch sizes' vertices alike, which no slope shows
BENDS = np.geomspace(1e-2, 1e2, 81)  # where a bending rule is tried, times the batch sizes' range
EXPONENT = "slope of log best learning rate on log batch size, least squares"


def best_rate(choice: Choice, *, level: float = 0.95) -> Estimate:
    """Return the best learning rate between the grid's points, with an interval from leaving out seeds.

    Where no parabola fits, the grid's spacing is part of the uncertainty; beyond an open edge of the grid nothing was
    tried, and the interval has no end there.
    """
    definition = f"learning rate with the {choice.criterion}; vertex of a parabola through the grid, low scores first"
    if choice.best is None or np.isnan(choice.rates).any():
        reason = (
            "the learning rates are not known" if choice.best is not None else "no learning rate trained well enough"
        )
        return Estimate.missing(reason, unit=UNIT, definition=definition, level=level)
    logs, groups, coarse = _vertices(choice)
    facts: dict[str, Any] = {"unit": UNIT, "definition": definition, "level": level, "count": choice.scores.shape[1]}
    if not groups:
        return Estimate(float(np.exp(logs[0])), None, None, method="one seed: no interval", **facts)
    found = replicate_estimate(logs, groups, method="jackknife, Student t", logarithmic=True, more=coarse, **facts)
    below, above = worse_sides(choice.scores, choice.best)
    least, most = _bracket(choice, level)
    ends = (max(found.low or 0.0, least) if below else None, min(found.high or np.inf, most) if above else None)
    return Estimate(found.value, *ends, method=found.method, **facts)


def _bracket(choice: Choice, level: float) -> tuple[float, float]:
    """Return the nearest learning rates below and above the plateau: the best one lies between them."""
    flat = plateau(choice, level=level)
    value = choice.rates[[rate in flat for rate in choice.rates]]
    below, above = choice.rates[choice.rates < value.min()], choice.rates[choice.rates > value.max()]
    return float(below.max(initial=0.0)), float(above.min(initial=np.inf))


def _vertices(choice: Choice) -> tuple[np.ndarray, tuple[Group, ...], float]:
    """Return log best rates (replicate,), how to read them, and the variance that the grid's spacing adds."""
    count = choice.scores.shape[1]
    weights, groups = leave_one_out([count], paired=True)
    found = bottom(choice, weights[0])
    logs = found.position
    coarse = 0.0 if found.curved.all() else found.spacing**2 / 12
    return logs, (groups if count > 1 and np.isfinite(logs).all() else ()), coarse


def plateau(choice: Choice, *, level: float = 0.95) -> tuple[float, ...]:
    """Return all learning rates that are not told apart from the best one.

    Each is compared with the best by its difference paired by seed, one-sided, the level shared among the rivals
    (Bonferroni): multiple comparisons with the best. A rate at which a run diverged, or never got there, is apart.

    Source: Hsu (1984), Annals of Statistics 12, 1136-1144; the paired form is ours.
    """
    if choice.best is None or choice.scores.shape[1] < 2 or np.isnan(choice.rates).any():
        return ()
    rivals = max(len(choice.rates) - 1, 1)
    each = 1 - 2 * (1 - level) / rivals  # one-sided
    best = choice.scores[choice.best]
    kept = []
    for index, row in enumerate(choice.scores):
        there = np.isfinite(row) & np.isfinite(best)
        whole = np.isfinite(row).all()
        if index == choice.best or (whole and (row - best)[there].mean() <= margin((row - best)[there], each)):
            kept.append(float(choice.rates[index]))
    return tuple(kept)


def learning_rate_rule(
    choices: Mapping[int, Choice], rules: Mapping[str, ScalingRule], *, paired: bool = True, level: float = 0.95
) -> LearningRateRule:
    """Return the exponent of the best learning rate against the batch size, and which named rules the data exclude.

    Batch sizes whose best learning rate is at the edge of the grid, or which never reached the target, do not count. A
    rule with a fixed exponent is excluded where the exponent's interval excludes it; a rule with a bend where the best
    rates lie further from it than their noise explains, at the bend that fits best.

    Args:
        choices: By batch size.
        rules: The rules to compare with, by name.
        paired: Whether seed i is the same randomness at every batch size.
        level: Confidence level.
    """
    points = tuple(
        RatePoint(size, best_rate(one, level=level), plateau(one, level=level)) for size, one in sorted(choices.items())
    )
    used = {
        size: one
        for size, one in sorted(choices.items())
        if one.best is not None and one.edge == "none" and one.criterion == BY_STEPS and not np.isnan(one.rates).any()
    }
    count = min((one.scores.shape[1] for one in used.values()), default=0)
    if len(used) < FEWEST_SIZES or count < 2:
        reason = (
            f"needs at least {FEWEST_SIZES} batch sizes whose best learning rate lies inside its grid and 2 seeds, got "
            f"{len(used)} batch sizes and {count} seeds"
        )
        missing = Estimate.missing(reason, unit="dimensionless", definition=EXPONENT, level=level)
        return LearningRateRule(missing, None, (), reason, points)
    counts = [one.scores.shape[1] for one in used.values()]
    weights, groups = leave_one_out(counts, paired=paired and len(set(counts)) == 1)
    bottoms = [bottom(one, some, width=WIDE) for one, some in zip(used.values(), weights, strict=True)]
    logs = np.stack([one.position for one in bottoms], axis=-1)
    coarse = np.array([0.0 if one.curved.all() else one.spacing**2 / 12 for one in bottoms])
    sizes = np.array(list(used), dtype=float)
    exponent = _exponent(sizes, logs, groups, coarse, count, level)
    tests = tuple(_test(name, rule, sizes, logs, groups, coarse, exponent) for name, rule in rules.items())
    nearest = min(
        (one for one in rules if not rules[one].bends), key=lambda one: abs(rules[one].exponent - (exponent.value or 0))
    )
    kept = tuple(test.name for test in tests if not test.excluded)
    return LearningRateRule(exponent, nearest, kept, _words(exponent, nearest, kept, used), points, tests)


def _exponent(
    sizes: np.ndarray, logs: np.ndarray, groups: tuple[Group, ...], coarse: np.ndarray, count: int, level: float
) -> Estimate:
    shares = _shares(sizes)
    more = float((shares**2 * coarse).sum())
    return replicate_estimate(
        logs @ shares, groups, level=level, count=count, unit="dimensionless",
        method="least squares, delete-one-seed jackknife, Student t", definition=EXPONENT, more=more,
    )  # fmt: skip


def _shares(sizes: np.ndarray) -> np.ndarray:
    """Return by how much each point moves the slope."""
    centred = np.log(sizes) - np.log(sizes).mean()
    return centred / (centred**2).sum()


def _test(
    name: str, rule: ScalingRule, sizes: np.ndarray, logs: np.ndarray, groups: tuple[Group, ...], coarse: np.ndarray,
    exponent: Estimate,
) -> RuleTest:  # fmt: skip
    variances, degrees = _variances(logs, groups)
    variance = float((variances + coarse).mean())
    if not rule.bends:
        low, high = exponent.low, exponent.high
        excluded = low is not None and high is not None and not low <= rule.exponent <= high
        residuals = _residuals(logs[0] - rule.log_rate(sizes, 1.0))
        return RuleTest(name, None, lack_of_fit(residuals, variance, parameters=1, degrees=degrees), excluded)
    bends = (
        BENDS * np.sqrt(sizes.min() * sizes.max()) * (sizes.max() / sizes.min()) ** np.linspace(-0.5, 0.5, len(BENDS))
    )
    off = [_residuals(logs[0] - rule.log_rate(sizes, bend)) for bend in bends]
    best = int(np.argmin([(one**2).sum() for one in off]))
    p_value = lack_of_fit(off[best], variance, parameters=2, degrees=degrees)
    return RuleTest(name, float(bends[best]), p_value, p_value < 1 - exponent.level)


def _residuals(values: np.ndarray) -> np.ndarray:
    return values - values.mean()


def _variances(logs: np.ndarray, groups: tuple[Group, ...]) -> tuple[np.ndarray, float]:
    """Return the variance of every log rate, less what seeds do to all alike, and the degrees of freedom of their mean."""
    alike = logs.mean(1, keepdims=True) if len(groups) == 1 else 0.0
    found = [group.factor * ((logs - alike)[group.rows] - (logs - alike)[group.rows].mean(0)) ** 2 for group in groups]
    variances = np.sum([one.sum(0) for one in found], axis=0)
    size = logs.shape[1]
    if len(groups) == 1:
        return variances * size / (size - 1), groups[0].degrees * (size - 1)
    return variances, sum(group.degrees for group in groups)


def _words(exponent: Estimate, nearest: str, kept: tuple[str, ...], used: Mapping[int, Choice]) -> str:
    named = ", ".join(one.replace("_", " ") for one in kept) or "none"
    value, low, high = (exponent.value or 0.0), exponent.low, exponent.high
    ends = f" [{low:.2f}, {high:.2f}]" if low is not None and high is not None else ""
    return (
        f"best learning rate ~ B^{value:.2f}{ends} over {len(used)} batch sizes ({short(min(used))} to {short(max(used))}); "
        f"nearest named rule: {nearest.replace('_', ' ')}{'' if nearest in kept else ', which the interval excludes'}; "
        f"not excluded: {named}"
    )
