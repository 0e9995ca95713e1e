"""Replicates: the jackknife is the textbook's for a mean, honest for what is not one, and adds up over batch sizes."""

import numpy as np
import pytest
from scipy import stats

from critbatch.statistics.resampling import (
    covariance,
    drawn_weights,
    leave_one_out,
    margin_of,
    replicate_estimate,
)

FACTS = {"level": 0.95, "unit": "u", "method": "m", "definition": "d"}


def test_of_a_mean_the_jackknife_is_students_interval():
    values = np.random.default_rng(0).normal(3, 1, 7)
    (weights,), groups = leave_one_out([7], paired=True)
    replicates = (weights @ values) / weights.sum(1)
    found = replicate_estimate(replicates, groups, count=7, **FACTS)
    low, high = stats.t.interval(0.95, 6, loc=values.mean(), scale=stats.sem(values))
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high), rel=1e-12)


def test_seeds_that_are_not_paired_add_their_variances_with_welchs_degrees_of_freedom():
    draw = np.random.default_rng(1)
    first, second = draw.normal(0, 1, 4), draw.normal(0, 3, 9)
    weights, groups = leave_one_out([4, 9], paired=False)
    means = [(some @ values) / some.sum(1) for some, values in zip(weights, (first, second), strict=True)]
    matrix, degrees = covariance(means[0] - means[1], groups)
    welch = stats.ttest_ind(first, second, equal_var=False)
    assert matrix[0, 0] == pytest.approx(stats.sem(first) ** 2 + stats.sem(second) ** 2, rel=1e-12)
    assert degrees == pytest.approx(welch.df, rel=1e-12)


def test_paired_seeds_keep_what_they_do_to_both():
    draw = np.random.default_rng(2)
    common = draw.normal(0, 5, 6)
    first, second = common + draw.normal(0, 0.1, 6), common + draw.normal(0, 0.1, 6)
    weights, groups = leave_one_out([6, 6], paired=True)
    difference = (weights[0] @ (first - second)) / weights[0].sum(1)
    assert margin_of(difference, groups, 0.95) < 0.3


def test_one_seed_gives_no_interval():
    for paired in (True, False):
        weights, groups = leave_one_out([1], paired=paired)
        assert groups == ()
        assert weights[0][0].tolist() == [1.0]
    found = replicate_estimate(np.array([2.0]), groups, count=1, **FACTS)
    assert (found.value, found.low, found.high) == (2.0, None, None)


def test_what_spans_all_magnitudes_is_not_resolved():
    (_, *_), groups = leave_one_out([3], paired=True)
    found = replicate_estimate(np.array([1.0, -400.0, 1.0, 500.0]), groups, count=3, logarithmic=True, **FACTS)
    assert found.value is None
    assert "all magnitudes" in found.reason


def test_the_interval_of_a_ratio_of_means_covers_it():
    # log of a ratio: nothing about it is linear; 1,500 worlds see a coverage that is 2 points off
    draw = np.random.default_rng(3)
    hits = []
    (weights,), groups = leave_one_out([5], paired=True)
    for _ in range(1500):
        top, bottom = draw.normal(2, 0.3, 5), draw.normal(1, 0.15, 5)
        values = np.log((weights @ top) / (weights @ bottom))
        hits.append(abs(values[0] - np.log(2)) <= margin_of(values, groups, 0.95))
    assert 0.93 <= np.mean(hits) <= 0.97


def test_dividing_by_n_would_be_seen():
    # the same with the variance of the replicates themselves, without the jackknife's factor
    draw = np.random.default_rng(4)
    (weights,), groups = leave_one_out([5], paired=True)
    wrong = tuple(type(group)(group.rows, 1 / 5, group.degrees) for group in groups)
    hits = [
        abs(values[0]) <= margin_of(values, wrong, 0.95)
        for values in ((weights @ draw.normal(0, 1, 5)) / weights.sum(1) for _ in range(500))
    ]
    assert np.mean(hits) < 0.8


def test_bootstrap_weights_draw_every_seed_once_on_average():
    weights = drawn_weights(5, 4000, np.random.default_rng(5))
    assert (weights[0] == 1).all()
    assert (weights.sum(1) == 5).all()
    assert weights[1:].mean(0) == pytest.approx(np.ones(5), abs=0.06)
