"""Tested statements and verdicts, by the rules that are the same for every claim.

Direction: the 95 % interval of the mean paired difference excludes 0 and the exact sign test agrees. Equivalence: two
one-sided tests against a margin fixed beforehand. Trend and model: the interval lies inside the claimed band, or wholly
outside. Exact: a deterministic check. Anything else is INCONCLUSIVE.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.special import stdtr, stdtrit

from ..analysis.comparison import equivalence_margin
from ..claim import Exhibit, Figure, Kind, Outcome, Part, Verdict
from ..estimate import Estimate, short
from ..finding import TaskFacts
from ..statistics.comparisons import POWER, holm, paired_difference
from ..statistics.means import mean_estimate

LEVEL = 0.95
SIGN_LEVEL = 0.05
DECISIVE = 4.0  # AICc
DIRECTED = "95% interval above 0 and sign test p < 0.05"
ACCURACY_MARGIN = 0.005  # at 10,000 test examples and more
WIDE_ACCURACY_MARGIN = 0.01  # below


def accuracy_margin(test_size: int | None) -> float:
    """Return within which differences of test accuracy count as none, fixed beforehand by the size of the test set."""
    return ACCURACY_MARGIN if test_size is not None and test_size >= 10_000 else WIDE_ACCURACY_MARGIN


def direction(
    name: str, differences: np.ndarray, *, unit: str, definition: str, margin: float = 0.0, counts: bool = True
) -> Part:  # fmt: skip
    """Return the test of "the difference is above 0".

    Args:
        name: Of the statement, in words.
        differences: Shape (seed,), paired, turned so that the claim says "above 0"; NaN where a seed has none.
        unit: Of the differences.
        definition: What they are, in words.
        margin: Differences within it do not matter: EQUIVALENT if shown. 0: there is no such margin.
        counts: Whether the claim's outcome depends on it.
    """
    values = np.asarray(differences, dtype=float)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return nothing(name, Kind.DIRECTION, "fewer than two seeds have it", unit, definition, DIRECTED, counts=counts)
    found = paired_difference(values, equivalence_margin=margin, level=LEVEL)
    effect = mean_estimate(values, unit=unit, definition=definition, level=LEVEL)
    low, high = _ends(effect)
    outcome = Outcome.INCONCLUSIVE
    if low > 0 and found.sign_p < SIGN_LEVEL:
        outcome = Outcome.SUPPORTED
    elif high < 0:
        outcome = Outcome.REFUTED
    elif margin > 0 and found.equivalence_p < 1 - LEVEL:
        outcome = Outcome.EQUIVALENT
    p_value = max(found.t_p, found.sign_p)
    return Part(name, Kind.DIRECTION, outcome, effect, DIRECTED, found.detectable, p_value, counts)


def equivalence(
    name: str, differences: np.ndarray, *, margin: float, unit: str, definition: str, counts: bool = True
) -> Part:  # fmt: skip
    """Return the test of "the difference lies within the margin": two one-sided tests at 5 %.

    Args:
        name: Of the statement, in words.
        differences: Shape (seed,), paired; NaN where a seed has none.
        margin: Fixed beforehand, in the unit of the differences.
        unit: Of the differences.
        definition: What they are, in words.
        counts: Whether the claim's outcome depends on it.
    """
    threshold = f"90% interval within ±{short(margin)}"
    values = np.asarray(differences, dtype=float)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return nothing(
            name, Kind.EQUIVALENCE, "fewer than two seeds have it", unit, definition, threshold, counts=counts
        )
    found = paired_difference(values, equivalence_margin=margin, level=LEVEL)
    effect = mean_estimate(values, unit=unit, definition=definition, level=LEVEL)
    low, high = _ends(effect)
    outcome = Outcome.INCONCLUSIVE
    if found.equivalence_p < 1 - LEVEL:
        outcome = Outcome.EQUIVALENT
    elif low > margin or high < -margin:
        outcome = Outcome.REFUTED
    return Part(name, Kind.EQUIVALENCE, outcome, effect, threshold, found.detectable, found.t_p, counts)


def band(
    name: str, effect: Estimate, low: float, high: float, *, kind: Kind = Kind.TREND, counts: bool = True
) -> Part:  # fmt: skip
    """Return the test of "the quantity lies between `low` and `high`" (either may be infinite), by its interval.

    A sign is the band from 0 to infinity, or from minus infinity to 0.
    """
    threshold = f"95% interval within [{_end(low)}, {_end(high)}]"
    if effect.value is None:
        return Part(name, kind, Outcome.INCONCLUSIVE, effect, threshold, counts=counts)
    least, most = _ends(effect)
    outcome = Outcome.INCONCLUSIVE
    if low < least and most < high:
        outcome = Outcome.SUPPORTED
    elif least > high or most < low:
        outcome = Outcome.REFUTED
    finite = math.isfinite(least) and math.isfinite(most) and effect.count > 1
    detectable = None
    if finite:
        half = (most - least) / 2
        free = effect.count - 1
        detectable = half * (1 + float(stdtrit(free, POWER) / stdtrit(free, (1 + LEVEL) / 2)))
    return Part(name, kind, outcome, effect, threshold, detectable, _p_of(effect, low, high), counts)


def none_beats(
    name: str, leads: Sequence[np.ndarray], *, margin: float, unit: str, definition: str, counts: bool = True
) -> Part:  # fmt: skip
    """Return the test of "no rival beats it": non-inferiority to each, by the rival that comes nearest.

    SUPPORTED if the interval of every lead lies above minus the margin; REFUTED if some rival is ahead, its p-value
    adjusted for the number of rivals (Holm).

    Args:
        name: Of the statement, in words.
        leads: For each rival, shape (seed,): the favourite less the rival, higher is better.
        margin: By which a rival may be ahead without it mattering, fixed beforehand.
        unit: Of the leads.
        definition: What they are, in words.
        counts: Whether the claim's outcome depends on it.
    """
    threshold = (
        f"95% interval of every lead above -{short(margin)}; a rival ahead with Holm-adjusted p < 0.05 refutes it"
    )
    kept = [values[np.isfinite(values)] for values in leads]
    kept = [values for values in kept if len(values) > 1]
    if not kept:
        return nothing(
            name, Kind.DIRECTION, "there is no rival with two seeds", unit, definition, threshold, counts=counts
        )
    found = [paired_difference(values, equivalence_margin=margin, level=LEVEL) for values in kept]
    p_values = holm([one.t_p for one in found])
    nearest = int(np.argmin([-math.inf if one.low is None else one.low for one in found]))
    beaten = [p < 1 - LEVEL and one.mean < 0 for p, one in zip(p_values, found, strict=True)]
    outcome = Outcome.INCONCLUSIVE
    if any(beaten):
        outcome = Outcome.REFUTED
        nearest = min((index for index, is_so in enumerate(beaten) if is_so), key=lambda index: p_values[index])
    elif all(one.low is not None and one.low > -margin for one in found):
        outcome = Outcome.SUPPORTED
    effect = mean_estimate(kept[nearest], unit=unit, definition=definition, level=LEVEL)
    one = found[nearest]
    return Part(name, Kind.DIRECTION, outcome, effect, threshold, one.detectable, p_values[nearest], counts)


def preferred(name: str, delta: float, rival: str, *, definition: str, counts: bool = True) -> Part:
    """Return the test of "this formula describes the data better than its rival".

    Args:
        name: Of the statement, in words.
        delta: AICc of the rival less AICc of the claimed formula; above 4 decides for the claim, below -4 against it.
        rival: In words.
        definition: What was fitted.
        counts: Whether the claim's outcome depends on it.
    """
    threshold = f"AICc at least {DECISIVE:g} lower than that of {rival}"
    if not math.isfinite(delta):
        return nothing(
            name, Kind.MODEL, "too few points for so many parameters", "AICc", definition, threshold, counts=counts
        )
    effect = Estimate(delta, None, None, LEVEL, 1, "AICc", f"AICc of {rival} less the claimed formula's", definition)
    outcome = Outcome.SUPPORTED if delta > DECISIVE else Outcome.REFUTED if delta < -DECISIVE else Outcome.INCONCLUSIVE
    return Part(name, Kind.MODEL, outcome, effect, threshold, counts=counts)


def exact(name: str, *, holds: bool, effect: Estimate, threshold: str, counts: bool = True) -> Part:
    """Return a deterministic check's result."""
    outcome = Outcome.SUPPORTED if holds else Outcome.REFUTED
    return Part(name, Kind.EXACT, outcome, effect, threshold, counts=counts)


def nothing(
    name: str, kind: Kind, reason: str, unit: str, definition: str, threshold: str, *, counts: bool = True
) -> Part:
    """Return a statement that the evidence does not touch, and why."""
    missing = Estimate.missing(reason, unit=unit, definition=definition)
    return Part(name, kind, Outcome.INCONCLUSIVE, missing, threshold, counts=counts)


def slope_estimate(x: np.ndarray, y: np.ndarray, *, unit: str, definition: str) -> Estimate:
    """Return the mean over seeds of least-squares slopes, with Student's interval over seeds (seeds are the clusters).

    Args:
        x: Shape (point,).
        y: Shape (seed, point); a seed with a NaN fits its finite points, of which it needs three (two if there are two).
        unit: Of the slope.
        definition: In words.
    """
    slopes = slopes_by_seed(x, y)
    slopes = slopes[np.isfinite(slopes)]
    if len(slopes) < 2:
        return Estimate.missing("fewer than two seeds have enough points", unit=unit, definition=definition)
    return mean_estimate(slopes, unit=unit, definition=definition, level=LEVEL)


def slopes_by_seed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the least-squares slope of each row of y (seed, point) on x (point,), shape (seed,); NaN with few points."""
    found = []
    for row in np.atleast_2d(y):
        kept = np.isfinite(row)
        if kept.sum() < min(3, len(x)) or kept.sum() < 2:
            found.append(np.nan)
            continue
        centred = x[kept] - x[kept].mean()
        found.append(float(centred @ row[kept] / (centred @ centred)))
    return np.array(found)


def all_of(parts: Iterable[Part]) -> Outcome:
    """Return SUPPORTED if every part that counts is (or is EQUIVALENT by an equivalence test); REFUTED if one is refuted.

    EQUIVALENT if all are equivalences, or if a direction turned out to be none that matters.
    """
    deciding = [part for part in parts if part.counts]
    outcomes = [part.outcome for part in deciding]
    if not deciding:
        return Outcome.INCONCLUSIVE
    if Outcome.REFUTED in outcomes:
        return Outcome.REFUTED
    if any(part.outcome is Outcome.EQUIVALENT and part.kind is not Kind.EQUIVALENCE for part in deciding):
        return Outcome.EQUIVALENT
    if Outcome.INCONCLUSIVE in outcomes:
        return Outcome.INCONCLUSIVE
    if all(one is Outcome.EQUIVALENT for one in outcomes):
        return Outcome.EQUIVALENT
    return Outcome.SUPPORTED


def verdict(
    claim: str, exhibit: Exhibit, parts: Sequence[Part], *, outcome: Outcome | None = None, reason: str = "",
    figure: Figure | None = None, notes: Iterable[str] = (),
) -> Verdict:  # fmt: skip
    """Return the verdict of a claim from its parts: `all_of` them unless the claim decides otherwise.

    Args:
        claim: Its id.
        exhibit: What was read.
        parts: The first is the one that the claim is quoted by.
        outcome: None for `all_of`.
        reason: In words; the default tells each part that counts.
        figure: A picture.
        notes: What else was seen.
    """
    said = reason or "; ".join(describe(part) for part in parts if part.counts)
    runs = tuple(dict.fromkeys(run.id for plan in exhibit.arms.values() for run in plan))
    return Verdict(claim, outcome or all_of(parts), tuple(parts), said, figure, runs, tuple(notes))


def describe(part: Part) -> str:
    """Return a part in words with its number."""
    if part.effect.value is None:
        return f"{part.name}: {part.outcome.name} ({part.effect.reason})"
    said = f"{part.name}: {part.effect.brief()} {part.effect.unit}, {part.outcome.name}"
    if part.outcome is Outcome.INCONCLUSIVE and part.threshold == DIRECTED and _ends(part.effect)[0] > 0:
        said += f" (the interval excludes 0, but {part.effect.count} seeds do not pass the sign test: it takes 6 that agree)"
    return said


def _ends(effect: Estimate) -> tuple[float, float]:
    return (
        -math.inf if effect.low is None else effect.low,
        math.inf if effect.high is None else effect.high,
    )  # fmt: skip


def _end(value: float) -> str:
    return "-∞" if value == -math.inf else "∞" if value == math.inf else short(value)


def _p_of(effect: Estimate, low: float, high: float) -> float | None:
    """Return the two-sided p-value of a sign, from the interval; None for a band of finite width."""
    sign = {low, high} & {0.0}
    if not sign or not (math.isinf(low) or math.isinf(high)) or effect.value is None:
        return None
    least, most = _ends(effect)
    if effect.count < 2 or not math.isfinite(most - least):
        return None
    error = (most - least) / 2 / float(stdtrit(effect.count - 1, (1 + LEVEL) / 2))
    if error == 0:
        return 0.0 if effect.value else 1.0
    return float(2 * stdtr(effect.count - 1, -abs(effect.value) / error))


def metric_margin(facts: TaskFacts, reference: np.ndarray) -> float:
    """Return within which differences of the task's metric count as none: the rule of every report, in the metric's unit.

    Args:
        facts: Of the task.
        reference: Values of the metric, any shape: a margin that is a share is one of their mean; NaN does not count.
    """
    margin, relative = equivalence_margin(facts)
    known = reference[np.isfinite(reference)]
    return margin * abs(float(known.mean())) if relative and len(known) else margin
