"""One comparison of the instrument with a truth."""

import math
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from scipy.special import betaincinv

Scale = Literal["quick", "normal", "full"]
COVERAGE = (0.92, 0.97)  # what a nominal 95% interval may hold the truth in
CERTAINTY = 0.9999  # that a check which fails is not bad luck


@final
@dataclass(frozen=True)
class Check:
    """A truth, what the instrument said of it, and whether that will do.

    Attributes:
        kind: Of the truth: "moments", "curves", "comparisons", "hardware", "training".
        name: What was checked.
        truth: What it should be; for coverages the nominal level.
        estimate: What it was.
        low: Of the interval in which the estimate itself is known; likewise `high`.
        passed: Whether they agree.
        count: Draws, studies or runs behind it.
        detail: What passes, and the setup.
    """

    kind: str
    name: str
    truth: float
    estimate: float
    low: float
    high: float
    passed: bool
    count: int
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return the check as JSON types; None for what is not finite."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in vars(self).items()
        }


def exactly(kind: str, name: str, truth: float, estimate: float, *, tolerance: float, detail: str) -> Check:
    """Return the check that a deterministic number is its truth, within a relative tolerance (absolute about 0)."""
    wide = tolerance * max(abs(truth), 1.0 if truth == 0 else 0.0)
    passed = bool(abs(estimate - truth) <= wide)
    return Check(kind, name, truth, float(estimate), float(estimate), float(estimate), passed, 1, detail)


def unbiased(kind: str, name: str, truth: float, draws: np.ndarray, *, detail: str) -> Check:
    """Return the check that a mean of draws is the truth, within four standard errors."""
    mean, error = float(draws.mean()), float(draws.std(ddof=1) / len(draws) ** 0.5)
    seen = f"{detail}; sees a bias of {100 * 8 * error / max(abs(truth), 1e-300):.2g} %"
    return Check(
        kind, name, truth, mean, mean - 4 * error, mean + 4 * error, abs(mean - truth) <= 4 * error, len(draws), seen
    )


def covers(kind: str, name: str, hits: np.ndarray, *, detail: str = "", gate: bool = True) -> Check:
    """Return the check that nominal 95% sets hold the truth between 92% and 97% of the time.

    It fails only where the binomial interval of what was found excludes this band; with 1,000 studies and more, where
    what was found itself lies outside of it.

    Args:
        kind: Of check.
        name: What is covered.
        hits: Shape (study,): whether the set held the truth.
        detail: The setup.
        gate: Whether this can fail: sets that are reported beside ours cannot.
    """
    share, count = float(np.mean(hits)), len(hits)
    low, high = binomial(int(np.sum(hits)), count)
    far_low, far_high = binomial(int(np.sum(hits)), count, level=CERTAINTY)
    inside = COVERAGE[0] <= share <= COVERAGE[1]
    passed = not gate or inside or (count < 1000 and far_low <= COVERAGE[1] and far_high >= COVERAGE[0])
    words = "reported, not judged"
    if gate:
        words = "92 to 97 %" if count >= 1000 else f"92 to 97 %, as far as {count} studies tell"
    return Check(
        kind, f"coverage: {name}", 0.95, share, low, high, passed, count, "; ".join(filter(None, (words, detail)))
    )


def at_most(kind: str, name: str, most: float, hits: np.ndarray, *, detail: str) -> Check:
    """Return the check that something happens in at most this share of studies; few studies are given their bad luck."""
    share, count = float(np.mean(hits)), len(hits)
    low, high = binomial(int(np.sum(hits)), count)
    far_low, _ = binomial(int(np.sum(hits)), count, level=CERTAINTY)
    passed = share <= most or (count < 1000 and far_low <= most)
    return Check(kind, name, most, share, low, high, passed, count, detail)


def at_least(kind: str, name: str, least: float, hits: np.ndarray, *, detail: str) -> Check:
    """Return the check that something happens in at least this share of studies."""
    share, count = float(np.mean(hits)), len(hits)
    low, high = binomial(int(np.sum(hits)), count)
    return Check(kind, name, least, share, low, high, share >= least, count, detail)


def binomial(hits: int, count: int, *, level: float = 0.95) -> tuple[float, float]:
    """Return the exact interval of a share.

    Source: Clopper and Pearson (1934), Biometrika 26, 404-413.
    """
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, count - hits + 1, tail))
    high = 1.0 if hits == count else float(betaincinv(hits + 1, count - hits, 1 - tail))
    return low, high


def holds(low: float | None, high: float | None, truth: float) -> bool:
    """Return whether an interval, open where an end is None, holds the truth."""
    return bool((low is None or low <= truth) and (high is None or truth <= high) and not math.isnan(truth))
