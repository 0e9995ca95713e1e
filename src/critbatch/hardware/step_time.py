"""How the time of a step depends on the batch size, and the batch size that this makes fastest."""

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float, Int
from scipy.special import fdtrc, stdtrit

from ..estimate import Estimate
from ..statistics.ratio import ratio_set

FEWEST_SIZES = 5
FEWEST_ON_LINE = 4
FEWEST_ON_PLATEAU = 2
RARE = 0.01  # a plateau that is not there is found in at most this share of probes
ROUNDING = 1e-24  # squared relative error
PASSES = 5  # of weights from the last fit; with errors of 10 % the next one changes nothing by more than 2e-6

T0 = "time of a step whatever its batch size: t0 of t = t0 + t1 B"
T1 = "time that one more example adds to a step: t1 of t = t0 + t1 B"
LAUNCH = "time of the steps so small that their batch size does not matter: t_launch of t = max(t_launch, t0 + t1 B)"
KNEE = "t0/t1: the batch size of half the peak throughput 1/t1, where the line holds"
NINETY = "9 t0/t1: the batch size of 90 % of the peak throughput 1/t1, where the line holds"
OPTIMUM = "sqrt(B_crit t0/t1): minimises (S_min + E_min/B)(t0 + t1 B), the time to the target on this device"


@final
@dataclass(frozen=True)
class StepTimePoint:
    """One batch size (examples), its median step time and the fitted one (seconds), and `residual` = median/fitted - 1.

    `fitted` and `residual` are None where nothing was fitted. A residual above 0 is a step slower than the formula: the
    sawtooth at the edges of tiles and caches shows here.
    """

    batch_size: int
    seconds: float
    fitted: float | None
    residual: float | None


@final
@dataclass(frozen=True)
class StepTimeFit:
    """t = t0 + t1 B, or max(t_launch, t0 + t1 B), and what the times can and cannot carry.

    Attributes:
        t0: Seconds per step.
        t1: Seconds per example.
        knee: t0/t1, examples.
        ninety_percent: 9 t0/t1, examples.
        launch: Seconds per step on the plateau; without a value where there is none.
        line_from: Smallest batch size to which the line was fitted; below it a step takes `launch`.
        residual: Root mean square relative residual, with the degrees of freedom of the fit.
        points: What was fitted, in the order of batch sizes; never smoothed.
        reason: Why nothing could be fitted, or None.
    """

    t0: Estimate
    t1: Estimate
    knee: Estimate
    ninety_percent: Estimate
    launch: Estimate
    line_from: int | None
    residual: float | None
    points: tuple[StepTimePoint, ...]
    reason: str | None


class _Model(NamedTuple):
    """t0 and t1, their covariance but for the variance of a relative error, the plateau, and what is left over."""

    line: Float[np.ndarray, " two"]
    covariance: Float[np.ndarray, "two two"]
    flat: int  # sizes on the plateau
    launch: float  # seconds; 0 without a plateau
    fitted: Float[np.ndarray, " size"]
    squares: float
    degrees: int


def fit_step_time(
    batch_sizes: Int[np.ndarray, " size"], seconds: Float[np.ndarray, "size repeat"], *, level: float = 0.95
) -> StepTimeFit:
    """Return the line through the median step times, with intervals, or the reasons why there is none.

    Errors are relative: each median is weighted by 1/fitted^2, in a few passes. Their size comes from the residuals
    about the formula with n - 2 degrees of freedom (n - 3 with a plateau), not from the scatter of repeats: the sawtooth
    is then part of the intervals. A plateau of the smallest sizes is used only where an F test at 1 %, Bonferroni over
    its possible ends, prefers it to the line alone. Nothing is forced above 0: a coefficient whose interval
    holds 0 is not resolved, which leaves a bound and a reason in place of its value.

    Source: relative least squares and the shape max(t_launch, t0 + t1 B): derived. Interval
    of the knee: Fieller (1954), Journal of the Royal Statistical Society B 16, 175-185.

    Args:
        batch_sizes: Examples per step, each size once.
        seconds: Per step: repeats of each size, warm-up and compile time excluded.
        level: Confidence level.

    Returns:
        t0 in seconds, t1 in seconds per example, their ratio in examples, and the residual of each size.

    Raises:
        ValueError: If a size is not above 0 or is there twice, or a time is not above 0 and finite.
    """
    order = np.argsort(batch_sizes)
    sizes, medians = batch_sizes[order].astype(float), np.median(seconds, axis=1)[order]
    _check(sizes, seconds)
    if len(sizes) < FEWEST_SIZES:
        return _missing(sizes, medians, level)
    return _fit(sizes, medians, _chosen(sizes, medians), level)


def time_optimal_batch_size(critical: Estimate, step_time: StepTimeFit) -> Estimate:
    """Return the batch size that reaches the target in the least time on one device: sqrt(B_crit t0/t1), in examples.

    On a log scale it is the mean of the critical batch size and of the knee. The variances of their logarithms add up,
    each side of the intervals for itself, and Student's quantile is that of the degrees of freedom of the sum.

    Source: derived, by the inequality of arithmetic and geometric means applied to (S_min + E_min/B)(t0 + t1 B). Degrees
    of freedom: Satterthwaite (1946), Biometrics Bulletin 2, 110-114.

    Args:
        critical: E_min/S_min, the critical batch size of S = S_min + E_min/B, in examples.
        step_time: Of the device on which the target has to be reached.

    Returns:
        Examples. Without a value where one of the two has none, or where it falls on the plateau of step times.

    Raises:
        ValueError: If the two have different confidence levels.
    """
    knee = step_time.knee
    if critical.level != knee.level:
        raise ValueError(
            f"`time_optimal_batch_size`: the critical batch size has level {critical.level}, the step time {knee.level}. "
            "Use one level for both."
        )
    unknown = functools.partial(Estimate.missing, unit="examples", definition=OPTIMUM, level=critical.level)
    for name, part in (("critical batch size", critical), ("step time", knee)):
        if part.value is None or part.value <= 0:
            return unknown(f"{name}: {part.reason or f'{part.value} is not above 0'}")
    value, low, high = _middle(critical, knee)
    if step_time.launch.value is not None and step_time.line_from is not None and value < step_time.line_from:
        return unknown(
            f"sqrt(B_crit t0/t1) = {value:.3g} falls on the plateau: up to batch size {step_time.line_from} a larger batch "
            "costs no time. Take at least that one",
            low=float(step_time.line_from),
        )
    count = min(critical.count, knee.count)
    method = f"log variances added, Satterthwaite's degrees of freedom; B_crit: {critical.method}; t0/t1: {knee.method}"
    return Estimate(value, low, high, critical.level, count, "examples", method, OPTIMUM)


def fastest_time(s_min: float, e_min: float, t0: float, t1: float) -> float:
    """Return the least time to the target over all batch sizes: (sqrt(S_min t0) + sqrt(E_min t1))^2, in seconds.

    Source: derived: the minimum of (S_min + E_min/B)(t0 + t1 B) over B.

    Args:
        s_min: Fewest steps to the target.
        e_min: Fewest examples to the target.
        t0: Seconds per step.
        t1: Seconds per example.

    Raises:
        ValueError: If one of them is negative.
    """
    if min(s_min, e_min, t0, t1) < 0:
        raise ValueError(
            f"`fastest_time(s_min={s_min}, e_min={e_min}, t0={t0}, t1={t1})`: none can be negative. Use resolved values."
        )
    return (math.sqrt(s_min * t0) + math.sqrt(e_min * t1)) ** 2


def _combined(halves: tuple[float, float], freedom: tuple[int, int], level: float) -> float:
    """Return the half width of the sum of two independent estimates, each with the half width of its own interval."""
    tail = (1 + level) / 2
    parts = [(half / float(stdtrit(free, tail))) ** 2 for half, free in zip(halves, freedom, strict=True)]
    if not sum(parts):
        return 0.0
    joint = sum(parts) ** 2 / sum(part**2 / free for part, free in zip(parts, freedom, strict=True))
    return float(stdtrit(joint, tail)) * sum(parts) ** 0.5


def _middle(one: Estimate, other: Estimate) -> tuple[float, float | None, float | None]:
    """Return the geometric mean of two estimates that have values, and its ends where both have theirs."""
    value = math.sqrt((one.value or 0.0) * (other.value or 0.0))

    def distance(end: float | None, other_end: float | None) -> float | None:
        if end is None or other_end is None or min(end, other_end) <= 0:
            return None
        halves = abs(math.log(end / (one.value or 1.0))), abs(math.log(other_end / (other.value or 1.0)))
        freedom = (
            max(one.count - 1, 1),
            max(other.count - 2, 1),
        )  # seeds; batch sizes that two coefficients were fitted to
        return _combined(halves, freedom, one.level) / 2

    below, above = distance(one.low, other.low), distance(one.high, other.high)
    return (
        value,
        None if below is None else value * math.exp(-below),
        None if above is None else value * math.exp(above),
    )


def _check(sizes: np.ndarray, seconds: np.ndarray) -> None:
    if len(sizes) and (sizes[0] <= 0 or (np.diff(sizes) == 0).any()):
        raise ValueError(
            f"`fit_step_time(batch_sizes={sizes.astype(int).tolist()})`: give each size once, all above 0."
        )
    if not (np.isfinite(seconds).all() and (seconds > 0).all()):
        wrong = int((~(np.isfinite(seconds) & (seconds > 0))).sum())
        raise ValueError(
            f"`fit_step_time(seconds=...)`: {wrong} of {seconds.size} times are not above 0 and finite. Leave out sizes "
            "that were not timed."
        )


def _chosen(sizes: np.ndarray, times: np.ndarray) -> _Model:
    """Return the line, or the plateau and the line that the times clearly prefer to it."""
    line = _model(sizes, times, 0)
    ends = range(FEWEST_ON_PLATEAU, len(sizes) - FEWEST_ON_LINE + 1)
    best = min((_model(sizes, times, flat) for flat in ends), key=lambda one: one.squares, default=line)
    free = len(sizes) - 4  # t0, t1, t_launch and where it ends
    if best.squares >= line.squares or free < 1 or line.squares < ROUNDING:
        return line
    statistic = (line.squares - best.squares) / 2 / max(best.squares / free, ROUNDING)
    # the plateau has to be what max() takes: above the line at the plateau's last size
    is_above = best.launch > best.line @ (1, sizes[best.flat - 1])
    return best if is_above and fdtrc(2, free, statistic) < RARE / len(ends) else line


def _model(sizes: np.ndarray, times: np.ndarray, flat: int) -> _Model:
    """Return the fit with the `flat` smallest sizes on a plateau."""
    columns, right = np.stack([np.ones(len(sizes) - flat), sizes[flat:]], axis=1), times[flat:]
    scale, line = right, np.zeros(2)
    for _ in range(PASSES):
        weighted = columns / scale[:, None]
        line = np.linalg.solve(weighted.T @ weighted, weighted.T @ (right / scale))
        scale = np.where(columns @ line > 0, columns @ line, right)
    weighted = columns / scale[:, None]
    launch = float(times[:flat].mean()) if flat else 0.0
    plateau = np.full(flat, launch)
    squares = float(np.sum((times / np.concatenate([plateau, scale]) - 1) ** 2))
    fitted = np.concatenate([plateau, columns @ line])
    covariance = np.linalg.inv(weighted.T @ weighted)
    return _Model(line, covariance, flat, launch, fitted, squares, len(sizes) - (3 if flat else 2))


def _fit(sizes: np.ndarray, medians: np.ndarray, model: _Model, level: float) -> StepTimeFit:
    covariance = model.covariance * model.squares / model.degrees
    half = stdtrit(model.degrees, (1 + level) / 2) * np.sqrt(np.diag(covariance))
    line_from, count, tried = int(sizes[model.flat]), len(sizes), f"{sizes[model.flat]:.0f} to {sizes[-1]:.0f}"
    student = f"relative least squares, Student t with {model.degrees} degrees of freedom"
    fieller = f"relative least squares, Fieller with {model.degrees} degrees of freedom"
    t0 = _coefficient(
        model.line[0], half[0], f"t0 is not told apart from 0 within batch sizes {tried}: try smaller ones",
        unit="seconds", definition=T0, level=level, count=count, method=student,
    )  # fmt: skip
    t1 = _coefficient(
        model.line[1], half[1], f"the time of a step does not clearly grow within batch sizes {tried}: try larger ones",
        unit="seconds per example", definition=T1, level=level, count=count, method=student,
    )  # fmt: skip
    ends = ratio_set(float(model.line[0]), float(model.line[1]), covariance, degrees=model.degrees, level=level)
    reason = t0.reason or t1.reason
    knee, ninety = (
        _ratio(model.line, factor, ends, reason, definition=text, level=level, count=count, method=fieller)
        for factor, text in ((1, KNEE), (9, NINETY))
    )
    if model.flat and ninety.value is not None and ninety.value < line_from:
        fallen = f"9 t0/t1 = {ninety.value:.3g} falls on the plateau, below batch size {line_from}"
        ninety = dataclasses.replace(ninety, value=None, low=None, high=None, reason=fallen)
    return StepTimeFit(
        t0, t1, knee, ninety, _launch(medians[: model.flat], level), line_from,
        math.sqrt(model.squares / model.degrees), _points(sizes, medians, model.fitted), None,
    )  # fmt: skip


def _coefficient(value: float, half: float, unresolved: str, **facts: Any) -> Estimate:
    low, high = float(value - half), float(value + half)
    if low > 0:
        return Estimate(float(value), low, high, **facts)
    return Estimate.missing(unresolved, high=high, **facts)


def _ratio(
    line: np.ndarray, factor: int, ends: tuple[float | None, float | None], reason: str | None, **facts: Any
) -> Estimate:  # fmt: skip
    low, high = (None if end is None else factor * end for end in ends)
    if reason:
        return Estimate.missing(reason, unit="examples", low=low, high=high, **facts)
    return Estimate(float(factor * line[0] / line[1]), low, high, unit="examples", **facts)


def _launch(times: np.ndarray, level: float) -> Estimate:
    facts = {"unit": "seconds", "definition": LAUNCH, "level": level, "count": len(times)}
    if not len(times):
        return Estimate.missing("no plateau: the line holds from the smallest batch size tried", **facts)
    half = stdtrit(len(times) - 1, (1 + level) / 2) * times.std(ddof=1) / len(times) ** 0.5
    value = float(times.mean())
    return Estimate(value, value - float(half), value + float(half), method="mean over sizes, Student t", **facts)


def _points(sizes: np.ndarray, medians: np.ndarray, fitted: np.ndarray | None) -> tuple[StepTimePoint, ...]:
    if fitted is None:
        return tuple(
            StepTimePoint(int(size), float(time), None, None) for size, time in zip(sizes, medians, strict=True)
        )
    rows = zip(sizes, medians, fitted, strict=True)
    return tuple(
        StepTimePoint(int(size), float(time), float(value), float(time / value - 1) if value > 0 else None)
        for size, time, value in rows
    )


def _missing(sizes: np.ndarray, medians: np.ndarray, level: float) -> StepTimeFit:
    reason = f"a line needs at least {FEWEST_SIZES} batch sizes, got {len(sizes)}: time more of them"
    unknown = functools.partial(Estimate.missing, reason, level=level, count=len(sizes))
    return StepTimeFit(
        t0=unknown(unit="seconds", definition=T0),
        t1=unknown(unit="seconds per example", definition=T1),
        knee=unknown(unit="examples", definition=KNEE),
        ninety_percent=unknown(unit="examples", definition=NINETY),
        launch=unknown(unit="seconds", definition=LAUNCH),
        line_from=None,
        residual=None,
        points=_points(sizes, medians, None),
        reason=reason,
    )
