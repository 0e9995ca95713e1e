"""What others make of the two moments: tests for the batch size, gains, efficiencies, learning rates.

Each is a function of the noise scale that only rises or only falls, so its ends are those of the noise scale, mapped. An
undetermined noise scale leaves a view without a value, never with one of a clamped |G|^2; where the view has a limit
for an infinite noise scale, that is its end there, and the reason says so.
"""

import math
from collections.abc import Callable

import numpy as np

from ..estimate import Estimate, short
from ..statistics.means import mean_estimate

_UNKNOWN = "|G|^2 = {} is not above 0: the batch size is not determined"


def norm_test_batch_size(scale: Estimate, *, tolerance: float, population: int | None = None) -> Estimate:
    """Return the batch size at which the gradient's noise is `tolerance` of its length, in examples.

    Where tr(Sigma) (1/B - 1/N) = tolerance^2 |G|^2; without a finite population it is the noise scale / tolerance^2.

    Source: Byrd, Chin, Nocedal and Wu (2012), Mathematical Programming 134, 127-155; as a batch-size schedule: Lau et
    al. (2024), arXiv:2412.21124.

    Args:
        scale: Noise scale, in examples.
        tolerance: Allowed root-mean-square error of the batch gradient, as a share of |G|.
        population: Size N of the training set, where batches are drawn from it without replacement.
    """

    def view(phi: float) -> float:
        return 1 / (tolerance**2 / phi + (1 / population if population else 0.0)) if phi else 0.0

    definition = f"norm test at tolerance {tolerance:g}, Byrd et al. (2012)"
    return _view(scale, view, limit=population, unit="examples", definition=definition)


def inner_product_test_batch_size(variance_along: float, squared_norm: float, *, tolerance: float) -> Estimate:
    """Return the batch size that keeps batch gradients mostly pointing downhill, in examples: weaker than the norm test.

    G' Sigma G / (tolerance^2 |G|^4): it needs the variance along the gradient, which the two moments do not hold.

    Source: Bollapragada, Byrd and Nocedal (2017), arXiv:1710.11258, Section 2, for an infinite population.

    Args:
        variance_along: G' Sigma G, the variance of the per-example gradient's inner product with G.
        squared_norm: |G|^2, unbiased.
        tolerance: Allowed standard error of the batch's inner product with G, as a share of |G|^2.
    """
    definition = f"inner-product test at tolerance {tolerance:g}, Bollapragada et al. (2017), arXiv:1710.11258"
    if not squared_norm > 0:
        return Estimate.missing(_UNKNOWN.format(short(squared_norm)), unit="examples", definition=definition)
    value = variance_along / (tolerance * squared_norm) ** 2
    return Estimate(value, None, None, 0.95, 1, "examples", "from the moments, no interval", definition)


def adascale_gain(scale: Estimate, *, batch_size: float, count: int) -> Estimate:
    """Return how many steps at `batch_size` one step at `count` times it is worth: between 1 and `count`.

    (phi/b + 1)/(phi/(b S) + 1). It saturates at `count`: where the noise scale has no upper end the gain's is `count`.

    Source: Johnson et al. (2020), arXiv:2007.05105, Section 3.2: the gain ratio.

    Args:
        scale: Noise scale phi, in examples.
        batch_size: Reference batch size b, in examples.
        count: How many times as many examples S the large batch has.
    """

    def view(phi: float) -> float:
        return (phi / batch_size + 1) / (phi / (batch_size * count) + 1)

    definition = f"AdaScale gain of {count} times {batch_size:g} examples, Johnson et al. (2020), arXiv:2007.05105"
    return _view(scale, view, limit=count, unit="steps", definition=definition)


def pollux_efficiency(scale: Estimate, *, batch_size: float, reference: float) -> Estimate:
    """Return the progress of an example at `batch_size` relative to one at the batch size `reference`.

    (phi + M0)/(phi + M), which is AdaScale's gain over M/M0. It tends to 1 as the noise scale grows.

    Source: Qiao et al. (2020), arXiv:2008.12260, Section 3.1.

    Args:
        scale: Noise scale phi, in examples.
        batch_size: M, in examples.
        reference: M0, in examples.
    """

    def view(phi: float) -> float:
        return (phi + reference) / (phi + batch_size)

    definition = f"efficiency of {batch_size:g} against {reference:g} examples, Qiao et al. (2020), arXiv:2008.12260"
    return _view(scale, view, limit=1.0, unit="1", definition=definition)


def half_batch_cosine(scale: Estimate, *, batch_size: float) -> Estimate:
    """Return the cosine of the mean gradients of two halves of a batch, as a ratio of expectations.

    1/(1 + 2 phi/B): E[g1 . g2]/sqrt(E|g1|^2 E|g2|^2). The mean of measured cosines differs in few dimensions.

    Source: Qin et al. (2021), SimiGrad, Advances in Neural Information Processing Systems 34, measure the cosine; the
    formula is derived.

    Args:
        scale: Noise scale phi, in examples.
        batch_size: Of both halves together, in examples.
    """

    def view(phi: float) -> float:
        return 1 / (1 + 2 * phi / batch_size)

    definition = f"cosine of the two halves of {batch_size:g} examples, Qin et al. (2021)"
    return _view(scale, view, limit=0.0, unit="1", definition=definition)


def gradient_diversity(scale: Estimate, *, population: int | None = None) -> Estimate:
    """Return n times the gradient diversity, the batch size up to which it promises a linear speed-up, in examples.

    n sum |g_i|^2 / |sum g_i|^2 = 1 + phi; for the n examples of a training set exactly 1 + phi (n - 1)/n.

    Source: Yin et al. (2018), arXiv:1706.05699, Definitions 1 and 2.

    Args:
        scale: Noise scale phi; for a population that of the training set (`noise_moments(population=...)`).
        population: Size of the training set; None for the distribution behind it.
    """
    share = 1 - 1 / population if population else 1.0
    definition = "n times the gradient diversity, Yin et al. (2018), arXiv:1706.05699"
    return _view(scale, lambda phi: 1 + phi * share, limit=None, unit="examples", definition=definition)


def cabs_batch_size(traces: np.ndarray, *, learning_rate: float, loss: float, level: float = 0.95) -> Estimate:
    """Return the batch size rate tr(Sigma)/loss, in examples, for plain SGD and a loss that can fall to 0.

    |G|^2 is not in it. With a floor under the loss (label noise, weight decay) give the loss above the floor.

    Source: Balles, Romero and Hennig (2017), arXiv:1612.05086, the CABS criterion.

    Args:
        traces: Shape (measurement,), estimates of tr(Sigma).
        learning_rate: Of plain SGD.
        loss: Above its floor.
        level: Confidence level.
    """
    definition = f"CABS at learning rate {learning_rate:g}, Balles et al. (2017), arXiv:1612.05086"
    if not loss > 0:
        reason = f"the loss above its floor is {short(loss)}: it must be above 0"
        return Estimate.missing(reason, unit="examples", definition=definition, level=level, count=len(traces))
    sizes = np.asarray(traces, dtype=float) * learning_rate / loss
    return mean_estimate(sizes, unit="examples", definition=definition, level=level)


def best_learning_rate(
    scale: Estimate, *, largest: float, batch_size: float, population: int | None = None
) -> Estimate:
    """Return the learning rate that lowers the loss most in one step at this batch size.

    largest/(1 + phi (1/B - 1/N)), exact on a quadratic with the curvature-weighted noise scale tr(H Sigma)/G'HG. With
    the simple one it assumes that curvature is the same in all directions. Greedy: not the best rate for a whole run.

    Source: McCandlish et al. (2018), arXiv:1812.06162, Section 2.2; the finite population is derived.

    Args:
        scale: Noise scale phi, in examples; of the training set for a finite population.
        largest: Best learning rate without noise, |G|^2/G'HG.
        batch_size: B, in examples.
        population: Size N of the training set, where batches are drawn from it without replacement.
    """
    definition = (
        f"best learning rate of one step at {batch_size:g} examples, McCandlish et al. (2018), arXiv:1812.06162"
    )
    return _of_one_step(scale, largest, batch_size, population, unit="learning rate", definition=definition)


def one_step_improvement(
    scale: Estimate, *, largest: float, batch_size: float, population: int | None = None
) -> Estimate:
    """Return the expected fall of the loss in one step at the best learning rate for this batch size.

    Same law and source as `best_learning_rate`.

    Args:
        scale: Noise scale phi, in examples; of the training set for a finite population.
        largest: Fall of the loss without noise, |G|^4/(2 G'HG).
        batch_size: B, in examples.
        population: Size N of the training set, where batches are drawn from it without replacement.
    """
    definition = f"largest fall of the loss in one step at {batch_size:g} examples, McCandlish et al. (2018)"
    return _of_one_step(scale, largest, batch_size, population, unit="loss", definition=definition)


def _of_one_step(
    scale: Estimate, largest: float, batch_size: float, population: int | None, *, unit: str, definition: str
) -> Estimate:
    noise = 1 / batch_size - (1 / population if population else 0.0)
    limit = 0.0 if noise > 0 else largest
    return _view(scale, lambda phi: largest / (1 + phi * noise), limit=limit, unit=unit, definition=definition)


def _view(
    scale: Estimate, function: Callable[[float], float], *, limit: float | None, unit: str, definition: str
) -> Estimate:
    """Return the estimate of a monotone function of the noise scale, whose `limit` at infinity is None if infinite."""
    known = scale.value is not None and (scale.low is None) == (scale.high is None)
    lowest = None if scale.low is None and scale.high is None else function(scale.low or 0.0)
    highest = function(scale.high) if scale.high is not None else limit if scale.low is not None else None
    ends = [math.inf if end is None else end for end in (lowest, highest)]
    low, high = (lowest, highest) if ends[0] <= ends[1] else (highest, lowest)
    if known and scale.value is not None:
        value = function(scale.value)
        return Estimate(value, low, high, scale.level, scale.count, unit, f"from {scale.method}", definition)
    reason = f"the noise scale is undetermined: {scale.reason}"
    if limit is not None and lowest is not None:
        reason += f"; an infinite one would give {short(limit)}"
    return Estimate.missing(
        reason, unit=unit, definition=definition, low=low, high=high, level=scale.level, count=scale.count,
        method=f"from {scale.method}",
    )  # fmt: skip
