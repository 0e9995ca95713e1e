"""Steps to target against batch size: the fitted curve, the critical batch size, and what the data do not carry."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..curve import Curve, Fit
from ..estimate import Estimate
from ..statistics.ratio import ratio_set
from ..statistics.resampling import covariance, expanded_interval, margin_of, replicate_estimate
from .choice import Choice
from .heights import Heights, drawn, fitted, heights
from .shapes import Compared, shapes

DEFINITIONS = {
    "s_min": "S_min of S(B) = S_min + E_min/B: steps to target in the limit of large batches",
    "e_min": "E_min of S(B) = S_min + E_min/B: examples to target in the limit of small batches",
    "critical": "E_min/S_min of the fitted hyperbola: twice the fewest steps and twice the fewest examples",
    "20pct": "largest batch whose steps are at most 1.2 times perfect scaling from the reference batch size "
    "{reference}, from the fitted hyperbola: 0.2 E_min/S_min + 1.2 B_ref (Zhang et al. 2024, arXiv:2410.21676)",
}
SQUARES = "weighted least squares of S on 1/B"
FEWEST_SIZES = 4
SIDE = 3.0  # batch sizes are needed this factor below and above the critical one
DRAWS = 1000
NOTHING = 1e-9  # of the fewest steps seen: an S_min below is 0 but for rounding
FLAT = "steps to target do not fall with the batch size: the target is too easy, or the hyperbola does not fit"


def fit_curve(
    choices: Mapping[int, Choice], curve: Curve, *, paired: bool = True, level: float = 0.95, thorough: bool = True
) -> Fit:
    """Return the curve through the steps to target of each batch size, at its best learning rate.

    Args:
        choices: By batch size.
        curve: A `Hyperbola`.
        paired: Whether seed i is the same randomness at every batch size.
        level: Confidence level.
        thorough: Whether to compare shapes, and to set a bootstrap interval beside the jackknife's.
    """
    found = heights(choices, paired=paired)
    fit = fit_heights(found, curve, level=level, thorough=thorough)
    if not fit.band or not paired or fit.censored or not thorough:
        return fit
    return dataclasses.replace(fit, bootstrap=_bootstrap(choices, curve, fit.critical_batch_size))


def fit_heights(found: Heights, curve: Curve, *, level: float = 0.95, thorough: bool = True) -> Fit:
    """Return the hyperbola through steps to target.

    Intervals come from leaving out one seed at a time, the best learning rate sought anew each time, with Student's t:
    calibrated at few seeds (docs/calibration.md), where bootstrap intervals come out narrow. The critical batch size is
    identified only if batch sizes were tried on both sides of it, a factor of 3 away, and its confidence set (Fieller's,
    with the replicates' covariance) is bounded; else it has no value, but a one-sided bound where the data give one.

    Source: McCandlish et al. (2018), arXiv:1812.06162, Section 2.3; the rule of three is ours.

    Args:
        found: Log steps to target by batch size, with replicates.
        curve: A `Hyperbola`.
        level: Confidence level.
        thorough: Whether to compare shapes.
    """
    reached = int((~found.censored).sum())
    if reached < FEWEST_SIZES or not found.groups:
        return unfit(_too_few(found, reached), level)
    coefficients = fitted(curve, found)
    seen = ~found.censored
    apart = np.log(np.maximum(curve.steps(found.sizes, coefficients[:1])[0], 1e-12)) - found.logs[0]
    critical, reason = _critical(found, coefficients, level)
    method = f"{SQUARES}, {found.method}" + (f"; {(~seen).sum()} censored batch sizes kept" if not seen.all() else "")
    facts = {"level": level, "count": found.count, "method": method}
    compared = shapes(found, coefficients, curve, level=level) if thorough else Compared()
    return Fit(
        curve="hyperbola",
        s_min=_coefficient("s_min", "steps", coefficients[:, 0], found, facts),
        e_min=_coefficient("e_min", "examples", coefficients[:, 1], found, facts),
        critical_batch_size=critical,
        critical_batch_size_20pct=critical.scaled(
            0.2,
            plus=1.2 * float(found.sizes[0]),
            unit="examples",
            definition=DEFINITIONS["20pct"].format(reference=f"{found.sizes[0]:.0f}"),
        ),
        identified=critical.value is not None,
        reason=reason,
        residual=float(np.sqrt(np.mean(apart[seen] ** 2))),
        band=_band(curve, found, coefficients, level),
        shapes=compared.shapes,
        sharpness=compared.sharpness,
        misspecified=compared.misspecified,
        censored=tuple(int(size) for size in found.sizes[found.censored]),
    )


def _too_few(found: Heights, reached: int) -> str:
    said = (
        f"needs at least {FEWEST_SIZES} batch sizes that reach the target, and 2 seeds; got {reached} and {found.count}"
    )
    sizes = found.sizes[~found.censored]
    if 0 < len(sizes) < FEWEST_SIZES:
        ends = f"{max(sizes.min() / 16, 1):.0f} to {sizes.max() * 16:.0f}"
        said += f"; add batch sizes a factor of 4 apart, for example from {ends}"
    return said


def unfit(reason: str, level: float) -> Fit:
    """Return a fit that says why there is none."""

    def missing(name: str, unit: str) -> Estimate:
        return Estimate.missing(reason, unit=unit, definition=DEFINITIONS[name].format(reference="?"), level=level)

    return Fit(
        "hyperbola", missing("s_min", "steps"), missing("e_min", "examples"), missing("critical", "examples"),
        missing("20pct", "examples"), identified=False, reason=reason, residual=None, band=(),
    )  # fmt: skip


def _coefficient(name: str, unit: str, values: np.ndarray, found: Heights, facts: dict[str, Any]) -> Estimate:
    """Return a coefficient with its interval, symmetric in ratio; a bound alone where it is not told apart from 0."""
    half = margin_of(values, found.groups, facts["level"])
    definition = DEFINITIONS[name]
    if values[0] - half <= 0 or values.min() <= 0:
        bound = max(float(values[0] + half), 0.0) if np.isfinite(half) else None
        reason = f"not told apart from 0 (fitted {values[0]:.3g})"
        return Estimate.missing(reason, unit=unit, definition=definition, high=bound, **facts)
    return replicate_estimate(np.log(values), found.groups, unit=unit, definition=definition, logarithmic=True, **facts)


def _critical(found: Heights, coefficients: np.ndarray, level: float) -> tuple[Estimate, str | None]:
    s_min, e_min = coefficients[0, :2]
    matrix, degrees = covariance(coefficients[:, [1, 0]], found.groups)
    low, high = ratio_set(float(e_min), float(s_min), matrix, degrees=degrees, level=level)
    resolvable = min(s_min, e_min) > 0 and s_min > NOTHING * np.exp(found.logs[0].min())
    value = float(e_min / s_min) if resolvable else None
    reason = FLAT if e_min <= 0 else _unidentified(found.sizes, value, low, high)
    method = f"{SQUARES}, {found.method}, Fieller"
    facts = {"unit": "examples", "definition": DEFINITIONS["critical"], "level": level, "count": found.count}
    if reason is None:
        return Estimate(value, low, high, method=method, **facts), None
    return Estimate.missing(reason, low=low, high=high, method=method, **facts), reason


def _unidentified(sizes: np.ndarray, value: float | None, low: float | None, high: float | None) -> str | None:
    smallest, largest = sizes.min(), sizes.max()
    if value is None or high is None:
        return (
            f"steps to target do not level off within the batch sizes tried (up to {largest:.0f}); "
            f"add batch sizes above {largest:.0f}"
        )
    if low is None or (smallest > value / SIDE and smallest == 1):
        return f"steps to target hardly fall within the batch sizes tried (from {smallest:.0f}); set a harder target"
    if smallest > value / SIDE:
        return f"no batch size below a third of the fitted {value:.0f} was tried; add some below {value / SIDE:.0f}"
    if largest < value * SIDE:
        return f"no batch size above three times the fitted {value:.0f} was tried; add some above {value * SIDE:.0f}"
    return None


def _band(
    curve: Curve, found: Heights, coefficients: np.ndarray, level: float
) -> tuple[tuple[float, float | None, float, float | None], ...]:
    at = np.geomspace(found.sizes.min(), found.sizes.max(), 33)
    drawn_steps = curve.steps(at, coefficients)
    band = []
    for size, column in zip(at, drawn_steps.T, strict=True):
        if column[0] > 0:
            in_logs = column.min() > 0
            half = margin_of(np.log(column) if in_logs else column, found.groups, level)
            ends = [column[0] * np.exp(side * half) if in_logs else column[0] + side * half for side in (-1, 1)]
            low, high = (float(end) if np.isfinite(end) and end > 0 else None for end in ends)
            band.append((float(size), low, float(column[0]), high))
    return tuple(band)


def _bootstrap(choices: Mapping[int, Choice], curve: Curve, beside: Estimate) -> Estimate:
    """Return the critical batch size with an expanded percentile interval, learning rates chosen anew in each draw.

    It stands beside the jackknife's since it is what others report; docs/calibration.md says how often either holds the
    truth.
    """
    sizes, logs = drawn(choices, DRAWS, np.random.default_rng(0))
    found = curve.fit(sizes, np.exp(logs[np.isfinite(logs).all(-1)]))
    # the inverse S_min/E_min is finite where no levelling-off is seen (it is 0 there): bound it, then turn it over
    with np.errstate(divide="ignore"):
        inverse = np.where(found[1:, 1] > 0, found[1:, 0] / found[1:, 1], np.inf)
    low, high = expanded_interval(inverse, count=beside.count, level=beside.level)
    ends = (1 / high if 0 < high < np.inf else None), (1 / low if 0 < low < np.inf else None)
    method = f"{SQUARES}, expanded percentile bootstrap over seeds and learning rates, {DRAWS} draws"
    return dataclasses.replace(beside, low=ends[0], high=ends[1], method=method)
