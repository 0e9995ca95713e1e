"""The ratio of the two moments, with an interval that may be open, and how consecutive gradients align."""

from typing import TypedDict

import numpy as np
from scipy.special import stdtrit

from ..estimate import Estimate
from ..statistics.blocks import FEWEST_BLOCKS, covering_block_length, mean_covariance
from ..statistics.fieller import RatioInterval, positive_ratio_interval, positive_ratio_set, ratio_interval
from .planning import to_resolve

DEFINITION = "simple noise scale tr(Sigma)/|G|^2, McCandlish et al. (2018), arXiv:1812.06162, Equation 2.9"
ALIGNMENT = "lag-one alignment E[g_t . g_t+1]/|G|^2, which is 1 - rate/best rate for plain SGD on a quadratic"


class _Facts(TypedDict):
    unit: str
    definition: str
    level: float
    count: int


def noise_scale(
    traces: np.ndarray, squared_norms: np.ndarray, *, batch_size: int | None = None, level: float = 0.95
) -> Estimate:
    """Return the simple gradient noise scale, in examples, from repeated measurements of its two moments.

    Means are divided last. Where |G|^2 is not told apart from 0 the value is missing, `low` is a bound that holds at
    this level, and the reason says how many more measurements would help: nothing is clamped.

    The measurements must be independent and of the same parameters. Where the parameters move between them, as along
    training, this interval is too narrow: use `noise_scale_along`. And the gradients inside one measurement must not
    come from consecutive steps (see `noise_moments`).

    Source: McCandlish et al. (2018), arXiv:1812.06162, Equation 2.9. Interval: `positive_ratio_interval`.

    Args:
        traces: Shape (measurement,), estimates of tr(Sigma).
        squared_norms: Shape (measurement,), estimates of |G|^2 from the same measurements.
        batch_size: Examples behind each measurement, for the reason's advice.
        level: Confidence level.
    """
    top, bottom = np.asarray(traces, dtype=float), np.asarray(squared_norms, dtype=float)
    facts = _Facts(unit="examples", definition=DEFINITION, level=level, count=len(top))
    if len(top) < 2:
        return Estimate.missing(f"an interval needs at least 2 measurements, got {len(top)}", **facts)
    found = positive_ratio_interval(top, bottom, level)
    error = float(bottom.std(ddof=1)) / len(bottom) ** 0.5
    advice = to_resolve(float(bottom.mean()), error, count=len(bottom), level=level)
    if batch_size:
        advice += f"; measurements from more than {batch_size} examples each resolve it sooner"
    return _ratio(top, bottom, found, advice=advice, method="Fieller, |G|^2 not below 0", facts=facts)


def noise_scale_along(
    traces: np.ndarray, squared_norms: np.ndarray, *, block: int | None = None, level: float = 0.95
) -> Estimate:
    """Return the noise scale of a stretch of training, from measurements one after the other while parameters move.

    It is the mean trace over the mean squared norm of the stretch. Neighbours resemble each other, so that n of them
    say less than n independent ones; the covariance of the two means is that of the moving-block bootstrap of the raw
    pairs, with Student's t for n/block - 1 degrees of freedom. An average that forgets (`Ema`) has no such interval.

    The stretch must be long against its memory and free of a trend. Where it holds too few blocks the value is missing;
    where the memory is too long to be seen at all the interval is too narrow.

    Source: Kuensch (1989), Annals of Statistics 17, 1217-1241; Fieller's set as in `noise_scale`.

    Args:
        traces: Shape (step,), estimates of tr(Sigma), in order.
        squared_norms: Shape (step,), estimates of |G|^2 from the same steps.
        block: Steps in a block; None for a length after Politis and White (2004), see `covering_block_length`.
        level: Confidence level.
    """
    pairs = np.stack([traces, squared_norms], 1).astype(float)
    count = len(pairs)
    facts = _Facts(unit="examples", definition=DEFINITION, level=level, count=count)
    if count < 2 * FEWEST_BLOCKS:
        return Estimate.missing(
            f"an interval of an autocorrelated series needs {2 * FEWEST_BLOCKS} steps, got {count}", **facts
        )
    length = covering_block_length(pairs) if block is None else block
    blocks = count / length
    if blocks < FEWEST_BLOCKS:
        return Estimate.missing(
            f"{count} steps hold {blocks:.1f} blocks of {length} that hardly depend on each other, {FEWEST_BLOCKS} are "
            "needed: measure for longer",
            **facts,
        )
    one_sided, two_sided = (float(stdtrit(blocks - 1, tail)) for tail in (level, (1 + level) / 2))
    covariance = mean_covariance(pairs, length)
    found = positive_ratio_set(pairs.mean(0), covariance, one_sided=one_sided, two_sided=two_sided)
    error = float(covariance[1, 1]) ** 0.5
    advice = to_resolve(float(pairs[:, 1].mean()), error, count=count, level=level)
    method = f"Fieller, |G|^2 not below 0, moving blocks of {length} steps"
    return _ratio(pairs[:, 0], pairs[:, 1], found, advice=advice, method=method, facts=facts)


def _ratio(
    top: np.ndarray, bottom: np.ndarray, found: RatioInterval, *, advice: str, method: str, facts: _Facts
) -> Estimate:
    if found.high is None:
        return Estimate.missing(
            f"|G|^2 is not told apart from 0 by {len(top)} measurements: {advice}",
            low=found.low,
            method=method,
            **facts,
        )
    if top.mean() <= 0:
        return Estimate.missing(
            f"tr(Sigma) came out at {top.mean():.3g}, not above 0: no noise is seen in {len(top)} measurements",
            high=max(found.high, 0.0), method=method, **facts,
        )  # fmt: skip
    value = float(top.mean() / bottom.mean())
    return Estimate(value=value, low=found.low or 0.0, high=found.high, method=f"ratio of means, {method}", **facts)


def lag_one_alignment(products: np.ndarray, squared_norms: np.ndarray, *, level: float = 0.95) -> Estimate:
    """Return how much of the gradient is left after a step: 1 for a tiny learning rate, 0 at the best one.

    For plain SGD on a quadratic it is 1 - rate/best rate, where the best rate is that of one step at this batch size.
    It is below 0 where the rate is larger, as in much healthy training: read its trend, not its sign. With momentum use
    products of the applied update with the next gradient instead; the identity then does not hold as it stands.

    The same identity is why a noise scale must not be computed from consecutive steps: it would be off by the factor
    that this is.

    Source: derived; Baydin et al. (2018), arXiv:1703.04782, use the same product as a hypergradient.

    Args:
        products: Shape (step,), inner products of the gradient of each batch with that of the next one.
        squared_norms: Shape (step,), unbiased estimates of |G|^2 at the same steps (`noise_moments`).
        level: Confidence level; the steps are taken as independent.
    """
    top, bottom = np.asarray(products, dtype=float), np.asarray(squared_norms, dtype=float)
    facts = _Facts(unit="1", definition=ALIGNMENT, level=level, count=len(top))
    if len(top) < 2:
        return Estimate.missing(f"an interval needs at least 2 steps, got {len(top)}", **facts)
    found = ratio_interval(top, bottom, level)
    if found.low is None or found.high is None or bottom.mean() <= 0:
        reason = f"|G|^2 is not told apart from 0 by {len(top)} steps: take more of them"
        return Estimate.missing(reason, method="Fieller", **facts)
    value = float(top.mean() / bottom.mean())
    return Estimate(value=value, low=found.low, high=found.high, method="ratio of means, Fieller", **facts)
