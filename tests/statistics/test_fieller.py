"""Fieller's set for ratios that cannot be negative: exact where it should be, never empty, and why it is needed."""

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import norm

from critbatch.statistics.fieller import positive_ratio_interval, positive_ratio_set, ratio_interval
from critbatch.worlds.gradients import gaussian_moments
from tests.noise.coverage import assert_covers, covered, open_share

ONE, TWO = float(ndtri(0.95)), float(ndtri(0.975))


def normal_set(bottom: float):
    """Return the set of 1/theta for one normal estimate of theta of unit error, and a numerator without error."""
    return positive_ratio_set(np.array([1.0, bottom]), np.diag([0.0, 1.0]), one_sided=ONE, two_sided=TWO)


@pytest.mark.parametrize("truth", [0.01, 0.5, 1.5, 1.9, 2.0, 2.5, 5.0])
def test_with_normal_errors_it_covers_exactly(truth):
    grid = np.linspace(truth - 6, truth + 6, 801)
    inside = covered([normal_set(bottom) for bottom in grid], 1 / truth)
    assert (norm.pdf(grid - truth) * inside).sum() * (grid[1] - grid[0]) == pytest.approx(0.95, abs=0.003)


def test_far_from_the_boundary_it_is_fiellers_own():
    draw = np.random.default_rng(0)
    top, bottom = draw.normal(3, 0.1, 20), draw.normal(1, 0.1, 20)
    ours, his = positive_ratio_interval(top, bottom), ratio_interval(top, bottom)
    assert (ours.low, ours.high) == pytest.approx((his.low, his.high), rel=1e-12)


def test_below_the_boundary_fiellers_set_holds_no_positive_ratio_but_this_one_does():
    his = ratio_interval(np.array([1.0, 1.1, 0.9]), np.array([-2.0, -2.1, -1.9]))
    assert his.high < 0
    ours = positive_ratio_interval(np.array([1.0, 1.1, 0.9]), np.array([-2.0, -2.1, -1.9]))
    assert ours.low > 0
    assert ours.high is None


def test_calling_that_undetermined_would_cover_too_much():
    draw = np.random.default_rng(1)
    tops, bottoms = gaussian_moments(
        200.0, batch_size=1, dimension=10, micro_batches=16, measurements=(2000, 10), generator=draw
    )
    his = [ratio_interval(top, bottom) for top, bottom in zip(tops, bottoms, strict=True)]
    hits = covered(his, 200.0) | np.array([one.high is not None and one.high < 0 for one in his])
    with pytest.raises(AssertionError, match="coverage"):
        assert_covers(hits, 0.92, 0.97)
    ours = [positive_ratio_interval(top, bottom) for top, bottom in zip(tops, bottoms, strict=True)]
    assert_covers(covered(ours, 200.0), 0.92, 0.97)
    assert open_share(ours) > 0.9


def test_a_bound_from_below_errs_in_no_more_than_five_percent():
    draw = np.random.default_rng(2)
    tops, bottoms = gaussian_moments(
        10.0, batch_size=1, dimension=10, micro_batches=16, measurements=(1000, 200), generator=draw
    )
    found = [positive_ratio_interval(top, bottom) for top, bottom in zip(tops, bottoms, strict=True)]
    wrong = np.array([one.low is not None and one.low > 10.0 for one in found])
    assert wrong.mean() < 0.05


def test_the_ends_surround_the_ratio_of_means():
    draw = np.random.default_rng(3)
    for _ in range(500):
        top, bottom = draw.normal(1, 1, 8), draw.normal(0.5, 1, 8)
        found = positive_ratio_interval(top, bottom)
        if bottom.mean() > 0 and top.mean() > 0:
            ratio = top.mean() / bottom.mean()
            assert (found.low or 0) <= ratio * (1 + 1e-12)
            assert found.high is None or ratio <= found.high * (1 + 1e-12)


@pytest.mark.parametrize("bottom", [0.0, -1.0])
def test_equal_pairs_without_a_positive_denominator_have_no_end(bottom):
    found = positive_ratio_interval(np.ones(3), np.full(3, bottom))
    assert (found.low, found.high) == (None, None)


def test_equal_pairs_are_a_point():
    found = positive_ratio_interval(np.full(7, 6.0), np.full(7, 2.0))
    assert (found.low, found.high) == pytest.approx((3.0, 3.0))


def test_it_needs_two_pairs():
    with pytest.raises(ValueError, match=r"at least 2 pairs.*got 1"):
        positive_ratio_interval(np.ones(1), np.ones(1))
