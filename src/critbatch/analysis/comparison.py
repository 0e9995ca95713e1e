"""Which batch size is best, and what may be said of it against each other one."""

import dataclasses
import itertools
import math
from collections.abc import Mapping

import numpy as np

from ..estimate import Estimate, short
from ..finding import Comparison, TaskFacts, Winner
from ..statistics.comparisons import Difference, holm, paired_difference

METHOD = "paired difference by seed, Student t"
BOOTSTRAP = "paired difference by seed, bootstrap-t"
COST_MARGIN = math.log(1.1)  # costs within 10% of each other count as the same
RELATIVE_MARGIN = 0.02  # of a metric that is no accuracy
MANY_TESTS = 10_000


def equivalence_margin(facts: TaskFacts) -> tuple[float, bool]:
    """Return within which difference test metrics count as the same, and whether that is a share of the best one's.

    The rule is fixed before any data are seen: the user's own number where there is one; else half a percentage point
    of accuracy with 10,000 test examples or more, one with fewer; 2% of the best mean of any other metric.
    """
    if facts.equivalence_margin is not None:
        return facts.equivalence_margin, False
    if facts.metric == "accuracy":
        return (0.005 if (facts.test_size or 0) >= MANY_TESTS else 0.01), False
    return RELATIVE_MARGIN, True


def most(
    values: Mapping[int, np.ndarray], *, better: str, unit: str, definition: str, margin: float, relative: bool = False,
    level: float = 0.95,
) -> Winner:  # fmt: skip
    """Return the batch size with the best mean and, for each other one, whether it is told apart from it.

    Differences are paired by seed. The best is picked before it is compared: p-values are therefore adjusted for all
    pairs of batch sizes (Holm), so that a lead is declared on pure noise at most one time in twenty.

    Args:
        values: Shape (seed,) for each batch size, seeds in the same order.
        better: "above" if higher is better, else "below".
        unit: Of the values.
        definition: What the values are.
        margin: Within which differences count as none.
        relative: Whether the margin is a share of the best mean.
        level: Confidence level of each interval; 1 - level is the error that all comparisons together may make.
    """
    sign = 1.0 if better == "above" else -1.0
    if len(values) < 2:
        reason = f"needs at least 2 batch sizes that got there, got {len(values)}"
        return Winner(None, None, Estimate.missing(reason, unit=unit, definition=definition, level=level), (), reason)
    ranked = sorted(values, key=lambda size: -sign * values[size].mean())
    best = ranked[0]
    width = margin * abs(float(values[best].mean())) if relative else margin
    pairs = list(itertools.combinations(ranked, 2))
    tests = {
        (one, other): paired_difference(
            sign * (values[one] - values[other]), equivalence_margin=width, level=level, bootstrap=one == best
        )
        for one, other in pairs
    }
    adjusted = dict(zip(pairs, holm([tests[pair].t_p for pair in pairs]), strict=True))
    rivals = tuple(
        _comparison(
            other,
            tests[best, other],
            adjusted[best, other],
            width,
            unit,
            f"{best} against {other}: {definition}",
            level,
        )
        for other in ranked[1:]
    )
    tied = tuple(sorted(one.batch_size for one in rivals if one.words != "better"))
    return Winner(best, ranked[1], rivals[0].difference, tied, _words(best, rivals), tuple(sorted(values)), rivals)


def _comparison(
    rival: int, test: Difference, adjusted: float, margin: float, unit: str, what: str, level: float
) -> Comparison:
    definition = f"lead of batch size {what}"
    difference = Estimate(test.mean, test.low, test.high, level, test.count, unit, METHOD, definition)
    bootstrap = None
    if test.bootstrap_low is not None and test.bootstrap_high is not None:
        low, high = (end if math.isfinite(end) else None for end in (test.bootstrap_low, test.bootstrap_high))
        bootstrap = Estimate(test.mean, low, high, level, test.count, unit, BOOTSTRAP, definition)
    words = "not resolved"
    if adjusted < 1 - level and test.mean > 0:
        words = "better"
    elif test.equivalence_p < 1 - level:
        words = f"equivalent within {short(margin)} {unit}"
    return Comparison(
        rival, difference, bootstrap, test.t_p, adjusted, test.sign_p, test.equivalence_p, margin, test.detectable, words
    )  # fmt: skip


def fewest(values: Mapping[int, np.ndarray], *, definition: str, level: float = 0.95) -> Winner:
    """Return the batch size with the lowest geometric mean; its lead is a ratio (how many times a rival needs).

    Args:
        values: Shape (seed,) for each batch size, above 0, seeds in the same order.
        definition: What the values are, for example "seconds to target".
        level: Confidence level of each interval.
    """
    logs = {size: np.log(numbers) for size, numbers in values.items()}
    found = most(logs, better="below", unit="ratio", definition=definition, margin=COST_MARGIN, level=level)
    rivals = tuple(
        dataclasses.replace(
            one,
            difference=_ratio(one.difference),
            bootstrap=None if one.bootstrap is None else _ratio(one.bootstrap),
            margin=math.exp(one.margin),
            detectable=None if one.detectable is None else math.exp(min(one.detectable, 700.0)),
            words=one.words
            if "equivalent" not in one.words
            else f"equivalent within a factor of {math.exp(one.margin):.3g}",
        )
        for one in found.rivals
    )
    return dataclasses.replace(
        found, advantage=_ratio(found.advantage), rivals=rivals, words=_words(found.batch_size or 0, rivals) if rivals else found.words
    )  # fmt: skip


def _ratio(lead: Estimate) -> Estimate:
    if lead.value is None:
        return lead
    ratio, low, high = (None if end is None else math.exp(min(end, 700.0)) for end in (lead.value, lead.low, lead.high))
    method = lead.method.replace("difference", "log ratio")
    return Estimate(ratio, low, high, lead.level, lead.count, "ratio", method, lead.definition)


def _words(best: int, rivals: tuple[Comparison, ...]) -> str:
    """Return what the tests say: better than these, equivalent to those, not resolved from the rest."""
    groups: dict[str, list[int]] = {}
    for one in sorted(rivals, key=lambda one: one.batch_size):
        groups.setdefault(one.words, []).append(one.batch_size)
    better = groups.pop("better", [])
    open_ones = groups.pop("not resolved", [])
    if better and not groups and not open_ones:
        return f"batch size {best} is better than every other"
    parts = [f"better than {', '.join(map(str, better))}"] if better else []
    parts += [
        f"{words.replace('equivalent', 'equivalent to ' + ', '.join(map(str, sizes)))}"
        for words, sizes in groups.items()
    ]
    parts += [f"not told apart from {', '.join(map(str, open_ones))}"] if open_ones else []
    return f"batch size {best} leads; {'; '.join(parts)}"
