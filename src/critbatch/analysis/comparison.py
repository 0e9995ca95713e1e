"""Which batch size is best, and which are not told apart from it."""

import dataclasses
import math

import numpy as np

from ..estimate import Estimate
from ..finding import Winner
from ..statistics.means import margin


def most(values: dict[int, np.ndarray], *, better: str, unit: str, definition: str, level: float = 0.95) -> Winner:
    """Return the batch size with the best mean, its lead over the runner-up (a difference), and its ties.

    Differences are paired by seed, with Student's interval; the level is shared among all rivals (Bonferroni), so that
    "better than every other" is wrong at most as often as the level allows.

    Args:
        values: Shape (seed,) for each batch size, seeds in the same order.
        better: "above" if higher is better, else "below".
        unit: Of the values.
        definition: What the values are.
        level: Confidence level for all comparisons together.
    """
    sign = 1.0 if better == "above" else -1.0
    if len(values) < 2:
        reason = f"needs at least 2 batch sizes that got there, got {len(values)}"
        return Winner(None, None, Estimate.missing(reason, unit=unit, definition=definition, level=level), (), reason)
    ranked = sorted(values, key=lambda size: -sign * values[size].mean())
    best, runner_up = ranked[0], ranked[1]
    each = 1 - (1 - level) / (len(values) - 1)
    leads = {size: sign * (values[best] - values[size]) for size in ranked[1:]}
    tied = tuple(sorted(size for size, lead in leads.items() if not lead.mean() > margin(lead, each)))
    lead, half = leads[runner_up], margin(leads[runner_up], each)
    ends = (float(lead.mean() - half), float(lead.mean() + half)) if math.isfinite(half) else (None, None)
    advantage = Estimate(
        float(lead.mean()), *ends, each, len(lead), unit,
        "paired difference by seed, Student t, Bonferroni over rivals",
        f"lead of batch size {best} over {runner_up}: {definition}",
    )  # fmt: skip
    return Winner(best, runner_up, advantage, tied, _words(best, tied), tuple(sorted(values)))


def fewest(values: dict[int, np.ndarray], *, definition: str, level: float = 0.95) -> Winner:
    """Return the batch size with the lowest geometric mean; its lead is a ratio (how many times the runner-up needs).

    Args:
        values: Shape (seed,) for each batch size, above 0, seeds in the same order.
        definition: What the values are, for example "seconds to target".
        level: Confidence level for all comparisons together.
    """
    logs = {size: np.log(numbers) for size, numbers in values.items()}
    found = most(logs, better="below", unit="ratio", definition=definition, level=level)
    lead = found.advantage
    if lead.value is None:
        return found
    ratio, low, high = (None if end is None else math.exp(end) for end in (lead.value, lead.low, lead.high))
    method = lead.method.replace("difference", "log ratio")
    advantage = Estimate(ratio, low, high, lead.level, lead.count, "ratio", method, lead.definition)
    return dataclasses.replace(found, advantage=advantage)


def _words(best: int, tied: tuple[int, ...]) -> str:
    if not tied:
        return f"batch size {best} is better than every other"
    return f"batch size {best} leads; not told apart from {', '.join(map(str, tied))}"
