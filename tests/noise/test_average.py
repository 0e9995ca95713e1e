"""A running average with one correction for its start."""

import math

import numpy as np
import pytest

from critbatch.noise import Ema
from tests.problems import assert_unbiased


def fed(values, decay=0.9) -> Ema:
    average = Ema(decay)
    for trace, norm in values:
        average.add(trace, norm)
    return average


def test_it_equals_the_weighted_mean_by_hand():
    values = np.random.default_rng(0).standard_normal((30, 2))
    weights = 0.9 ** np.arange(29, -1, -1)
    by_hand = (weights[:, None] * values).sum(0) / weights.sum()
    average = fed(values)
    assert average.moments == pytest.approx(tuple(by_hand), rel=1e-12)
    assert average.effective_count == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-12)
    assert fed(np.ones((1000, 2))).effective_count == pytest.approx(1.9 / 0.1)


def test_both_moments_are_unbiased_from_the_first_step_on():
    draw = np.random.default_rng(1)
    found = np.array([fed(draw.normal([4.0, 2.0], 1.0, (3, 2))).moments for _ in range(2000)])
    assert_unbiased(found[:, 0], 4.0, smallest_bias=0.05)
    assert_unbiased(found[:, 1], 2.0, smallest_bias=0.1)


def test_the_correction_cancels_in_the_ratio():
    values = np.random.default_rng(2).uniform(1, 2, (5, 2))
    plain = np.zeros(2)
    for value in values:
        plain = 0.9 * plain + 0.1 * value
    assert fed(values).scale().value == pytest.approx(plain[0] / plain[1], rel=1e-12)


def test_a_step_that_is_not_finite_is_left_out_of_both():
    average = fed([(1.0, 2.0), (math.nan, 5.0), (7.0, math.inf)])
    assert average.moments == pytest.approx((1.0, 2.0))
    assert (average.count, average.left_out) == (1, 2)


def test_it_has_no_interval_and_no_clamp():
    found = fed([(1.0, 2.0)]).scale()
    assert (found.value, found.low, found.high) == (pytest.approx(0.5), None, None)
    assert "not above 0" in fed([(1.0, -2.0)]).scale().reason
    assert "no step" in Ema(0.5).scale().reason
    assert all(math.isnan(one) for one in Ema(0.5).moments)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        Ema(decay)
