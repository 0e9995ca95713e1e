"""Steps to target against batch size: the points, the fitted curve and the critical batch size."""

import numpy as np

from ..curve import Curve, Fit
from ..estimate import Estimate
from ..statistics.bootstrap import expanded_interval, seed_draws
from ..statistics.selection import mean_scores
from .rates import BY_STEPS, DRAWS, Choice

PIVOTAL = "weighted least squares of S on 1/B, pivotal expanded bootstrap over seeds and learning rates"
METHOD = "weighted least squares of S on 1/B, expanded percentile bootstrap over seeds and learning rates"
DEFINITIONS = {
    "s_min": "S_min of S(B) = S_min + E_min/B: steps to target in the limit of large batches",
    "e_min": "E_min of S(B) = S_min + E_min/B: examples to target in the limit of small batches",
    "critical": "E_min/S_min of the fitted hyperbola: twice the fewest steps and twice the fewest examples",
    "20pct": "largest batch whose steps are at most 1.2 times perfect scaling from the reference batch size "
    "{reference}, from the fitted hyperbola: 0.2 E_min/S_min + 1.2 B_ref (Zhang et al. 2024, arXiv:2410.21676)",
}
FEWEST_SIZES = 4
FLAT = "steps to target do not fall with the batch size: the target is too easy, or the hyperbola does not fit"


def fit_curve(choices: dict[int, Choice], curve: Curve, *, level: float = 0.95) -> Fit:
    """Return the hyperbola through steps to target, the minimum over learning rates taken inside the bootstrap.

    The critical batch size is identified only if batch sizes were tried on both sides of it, a factor of 3 away, and
    its interval is bounded; else it has no value, but a one-sided bound where the data give one.

    Source: McCandlish et al. (2018), arXiv:1812.06162, Section 2.3; the rule of three is ours.

    Args:
        choices: By batch size; those whose best learning rate misses the target with some seed are left out.
        curve: A `Hyperbola`.
        level: Confidence level.
    """
    used = {
        size: choice.scores
        for size, choice in sorted(choices.items())
        if choice.best is not None and choice.criterion == BY_STEPS
    }
    count = min((scores.shape[1] for scores in used.values()), default=0)
    if len(used) < FEWEST_SIZES or count < 2:
        return _unfit(
            f"needs at least {FEWEST_SIZES} batch sizes that reach the target with every seed, and 2 seeds; got "
            f"{len(used)} and {count}",
            level,
        )
    sizes = np.array(list(used), dtype=float)
    steps = np.exp(np.array([mean_scores(scores).min() for scores in used.values()]))
    picks = seed_draws(count, DRAWS, np.random.default_rng(0))
    resampled = np.stack([mean_scores(scores[:, picks]).min(0) for scores in used.values()], axis=-1)
    resampled = np.exp(resampled[np.isfinite(resampled).all(-1)])
    found, draws = curve.fit(sizes, steps), curve.fit(sizes, resampled)
    residual = float(np.sqrt(np.mean((curve.steps(sizes, found) / steps - 1) ** 2)))
    critical, reason = _critical(sizes, found, draws, count, level)
    return Fit(
        curve=type(curve).__name__.lower(),
        s_min=_coefficient("s_min", "steps", found[0], draws[:, 0], count, level),
        e_min=_coefficient("e_min", "examples", found[1], draws[:, 1], count, level),
        critical_batch_size=critical,
        critical_batch_size_20pct=_twenty(critical, float(sizes[0])),
        identified=critical.value is not None,
        reason=reason,
        residual=residual,
        band=_band(curve, sizes, found, draws, count, level),
    )


def _unfit(reason: str, level: float) -> Fit:
    def missing(name: str, unit: str) -> Estimate:
        return Estimate.missing(reason, unit=unit, definition=DEFINITIONS[name].format(reference="?"), level=level)

    return Fit(
        "hyperbola", missing("s_min", "steps"), missing("e_min", "examples"), missing("critical", "examples"),
        missing("20pct", "examples"), identified=False, reason=reason, residual=None, band=(),
    )  # fmt: skip


def _coefficient(name: str, unit: str, value: float, draws: np.ndarray, count: int, level: float) -> Estimate:
    """Return a coefficient with its pivotal interval, in logs where all is above 0.

    Taking the best learning rate again in each draw moves the draws below the estimate as it moves the estimate below
    the truth; turned around the estimate (pivotal) the interval leans to the other side, as it should.
    """
    low, high = expanded_interval(draws, count=count, level=level)
    in_logs = min(value, low) > 0
    turned = [value * value / end if in_logs else 2 * value - end for end in (high, low)]
    return Estimate(float(value), float(turned[0]), float(turned[1]), level, count, unit, PIVOTAL, DEFINITIONS[name])


def _critical(
    sizes: np.ndarray, found: np.ndarray, draws: np.ndarray, count: int, level: float
) -> tuple[Estimate, str | None]:
    # the inverse S_min/E_min is finite where no levelling-off is seen (it is 0 there): bound it, then turn it over
    with np.errstate(divide="ignore"):
        inverse = np.where(draws[:, 1] > 0, draws[:, 0] / draws[:, 1], np.inf)
    inverse_low, inverse_high = expanded_interval(inverse, count=count, level=level)
    low = 1 / inverse_high if 0 < inverse_high < np.inf else None
    high = 1 / inverse_low if 0 < inverse_low < np.inf else None
    facts = {"unit": "examples", "definition": DEFINITIONS["critical"], "level": level, "count": count}
    value = float(found[1] / found[0]) if found.min() > 0 else None
    reason = FLAT if found[1] <= 0 else _unidentified(sizes, value, low, high)
    if reason is None:
        return Estimate(value, low, high, method=METHOD, **facts), None
    return Estimate.missing(reason, low=low, high=high, method=METHOD, **facts), reason


def _unidentified(sizes: np.ndarray, value: float | None, low: float | None, high: float | None) -> str | None:
    smallest, largest = sizes.min(), sizes.max()
    if value is None or high is None:
        return (
            f"steps to target do not level off within the batch sizes tried (up to {largest:.0f}); "
            f"add batch sizes above {largest:.0f}"
        )
    if low is None or (smallest > value / 3 and smallest == 1):
        return f"steps to target hardly fall within the batch sizes tried (from {smallest:.0f}); set a harder target"
    if smallest > value / 3:
        return f"no batch size below a third of the fitted {value:.0f} was tried; add some below {value / 3:.0f}"
    if largest < value * 3:
        return f"no batch size above three times the fitted {value:.0f} was tried; add some above {value * 3:.0f}"
    return None


def _twenty(critical: Estimate, reference: float) -> Estimate:
    def convert(batch_size: float | None) -> float | None:
        return None if batch_size is None else 0.2 * batch_size + 1.2 * reference

    return Estimate(
        convert(critical.value), convert(critical.low), convert(critical.high), critical.level, critical.count,
        critical.unit, critical.method, DEFINITIONS["20pct"].format(reference=f"{reference:.0f}"), critical.reason,
    )  # fmt: skip


def _band(
    curve: Curve, sizes: np.ndarray, found: np.ndarray, draws: np.ndarray, count: int, level: float
) -> tuple[tuple[float, float | None, float, float | None], ...]:
    at = np.geomspace(sizes.min(), sizes.max(), 33)
    value, drawn = curve.steps(at, found), curve.steps(at, draws)
    ends = [expanded_interval(column, count=count, level=level) for column in drawn.T]
    return tuple(
        (float(size), low if low > 0 else None, float(middle), high if high > 0 else None)
        for size, middle, (low, high) in zip(at, value, ends, strict=True)
        if middle > 0
    )
