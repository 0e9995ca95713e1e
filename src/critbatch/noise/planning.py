"""How many measurements the noise scale needs."""

import math

import numpy as np
from scipy.special import ndtri

from ..estimate import Estimate, short

POWER = 0.8  # ours: a study of the advised size resolves |G|^2 in 4 cases of 5
NEEDED = "measurements for a relative half width of {:.3g}"
_UNIT = "measurements"


def measurements_needed(
    trace: float, squared_norm: float, *, batch_size: int, effective_dimension: float, relative_error: float,
    micro_batches: int | None = None, level: float = 0.95,
) -> Estimate:  # fmt: skip
    """Return how many measurements give the noise scale's interval this relative half width.

    Where the noise scale is far above the batch size it is n = z^2 2 (scale/batch)^2 / (effective dimension error^2):
    the squared norm is the bottleneck, and a batch of twice the size is worth four measurements. The whole formula has
    the variances and the covariance of both moments for Gaussian gradients with a flat spectrum.

    Source: derived from the moments' variances (McCandlish et al. 2018, arXiv:1812.06162, Appendix A.1, give the
    estimators); Student's t costs (z^2 + 1)/2 measurements more (first term of its expansion in 1/n).

    Args:
        trace: tr(Sigma).
        squared_norm: |G|^2.
        batch_size: Examples behind each measurement.
        effective_dimension: tr(Sigma)^2/tr(Sigma^2): the number of parameters if all were equally noisy, mostly far
            fewer.
        relative_error: Wanted half width of the interval, as a share of the value.
        micro_batches: Micro-batches in the batch, at least 2; None for single examples.
        level: Confidence level.

    Raises:
        ValueError: If the relative error is not above 0.
    """
    _check(relative_error)
    facts = {"unit": _UNIT, "definition": NEEDED.format(relative_error), "level": level}
    if not (trace > 0 and squared_norm > 0):
        reason = f"|G|^2 = {short(squared_norm)} is not above 0: no number of measurements is known to be enough"
        return Estimate.missing(reason, **facts)
    ratio, others = trace / squared_norm / batch_size, (micro_batches or batch_size) - 1
    traces = 2 / others
    norms = 4 * ratio + 2 * ratio**2 * (others + 1) / others
    together = -2 * ratio / others  # tr(Sigma^2) over tr(Sigma)^2 is left out of all three
    variance = (traces + norms - 2 * together) / effective_dimension
    count = float(_enough(variance, relative_error, level))
    return Estimate(count, None, None, count=0, method="variance for Gaussian gradients", **facts)


def measurements_needed_after(
    traces: np.ndarray, squared_norms: np.ndarray, *, relative_error: float, level: float = 0.95
) -> Estimate:
    """Return how many measurements, with those made, give the noise scale's interval this relative half width.

    Assumes nothing about the gradients: the variance is that of the measurements. Where |G|^2 may be 0 the value is
    missing, and `low` is what would be needed if |G|^2 were as large as the measurements allow.

    Source: the variance of a ratio of means by linearisation, Cochran (1977), Sampling Techniques, Section 6.3.

    Args:
        traces: Shape (measurement,), estimates of tr(Sigma), at least two.
        squared_norms: Shape (measurement,), estimates of |G|^2 from the same measurements.
        relative_error: Wanted half width of the interval, as a share of the value.
        level: Confidence level.

    Raises:
        ValueError: If the relative error is not above 0, or there are fewer than two measurements.
    """
    _check(relative_error)
    count = len(traces)
    if count < 2:
        raise ValueError(
            f"`measurements_needed_after` needs at least 2 measurements to see their variance, got {count}."
        )
    facts = {"unit": _UNIT, "definition": NEEDED.format(relative_error), "level": level, "count": count}
    trace, norm = float(np.mean(traces)), float(np.mean(squared_norms))
    error = float(np.std(squared_norms, ddof=1)) / count**0.5
    margin = float(ndtri(level)) * error
    if norm <= margin or trace <= 0:
        most = max(norm, 0.0) + margin
        low = _enough(count * (error / most) ** 2, relative_error, level) if most > 0 else None
        reason = f"|G|^2 is not told apart from 0 by {count} measurements: any number may be too few"
        return Estimate.missing(reason, low=None if low is None else float(low), **facts)
    variance = float(np.var(np.asarray(traces) / trace - np.asarray(squared_norms) / norm, ddof=1))
    return Estimate(
        float(_enough(variance, relative_error, level)), None, None, method="variance of the measurements", **facts
    )


def to_resolve(squared_norm: float, error: float, *, count: int, level: float) -> str:
    """Return in words how many more measurements would tell |G|^2 apart from 0, in four studies of five.

    A number "about" is given only where the estimate says something about |G|^2. Otherwise it is the number that would
    be needed if |G|^2 were as large as the measurements allow, hence "at least".

    Args:
        squared_norm: Mean estimate of |G|^2.
        error: Its standard error.
        count: Measurements behind it.
        level: Confidence level.
    """
    one_sided, power = float(ndtri(level)), float(ndtri(POWER))
    if error == 0:
        return "all of them agree on it"
    signal = squared_norm / error
    if signal > power:
        more = max(math.ceil(count * (((one_sided + power) / signal) ** 2 - 1)), 1)
        return f"if it is as large as estimated, about {more} more measurements would resolve it"
    more = math.ceil(count * (((one_sided + power) / (max(signal, 0.0) + one_sided)) ** 2 - 1))
    text = f"at least {max(more, 1)} more measurements are needed, and no number of them is known to be enough"
    if signal < -one_sided:
        text += (
            " (the estimate is below 0 by more than chance: were the examples drawn without replacement from a training "
            "set? then give its size as `population`)"
        )
    return text


def _check(relative_error: float) -> None:
    if not relative_error > 0:
        raise ValueError(f"`relative_error={relative_error}`: must be above 0. Give 0.2 for a half width of 20%.")


def _enough(variance: float, relative_error: float, level: float) -> int:
    quantile = float(ndtri((1 + level) / 2))
    return max(math.ceil(quantile**2 * variance / relative_error**2 + (quantile**2 + 1) / 2), 2)
