"""Paired comparisons: each test is the textbook's, and each is right as often as it says."""

import itertools
from math import comb

import numpy as np
import pytest
from scipy import stats

from critbatch.statistics.comparisons import best_of, holm, paired_difference, sign_test
from critbatch.statistics.information import aicc
from critbatch.statistics.lack_of_fit import lack_of_fit


def test_student_and_the_equivalence_tests_are_the_textbooks():
    values = np.random.default_rng(0).normal(0.3, 1, 8)
    found = paired_difference(values, equivalence_margin=1.0)
    textbook = stats.ttest_1samp(values, 0)
    assert found.t_p == pytest.approx(textbook.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(textbook.confidence_interval(0.95)))
    one_sided = [
        stats.ttest_1samp(values, -1, alternative="greater").pvalue,
        stats.ttest_1samp(values, 1, alternative="less").pvalue,
    ]
    assert found.equivalence_p == pytest.approx(max(one_sided))


@pytest.mark.parametrize(("above", "below", "p"), [(8, 0, 0.0078125), (5, 0, 0.0625), (7, 1, 0.0703125), (4, 4, 1.0)])
def test_the_sign_test_is_exact(above, below, p):
    values = np.array([1.0] * above + [-1.0] * below + [0.0])
    assert sign_test(values) == pytest.approx(p)


def test_holm_agrees_with_its_definition():
    draw = np.random.default_rng(1)
    for _ in range(50):
        p_values = list(draw.uniform(0, 0.2, 5))
        ranked = sorted(p_values)
        for p, adjusted in zip(p_values, holm(p_values), strict=True):
            naive = max(min(1.0, (5 - place) * one) for place, one in enumerate(ranked) if one <= p)
            assert adjusted == pytest.approx(naive)


def test_the_paired_interval_covers_and_the_bootstrap_t_nearly():
    draw = np.random.default_rng(2)
    hits = []
    for _ in range(1000):
        found = paired_difference(draw.normal(0.2, 1, 8), equivalence_margin=0.1, bootstrap=True)
        hits.append((found.low <= 0.2 <= found.high, found.bootstrap_low <= 0.2 <= found.bootstrap_high))
    exact, drawn = np.mean(hits, axis=0)
    assert 0.935 <= exact <= 0.965
    assert 0.91 <= drawn <= 0.975


def test_the_detectable_difference_is_detected_four_times_in_five():
    draw = np.random.default_rng(3)
    truth = float(
        np.mean([paired_difference(draw.normal(0, 1, 8), equivalence_margin=1).detectable for _ in range(500)])
    )
    power = np.mean([paired_difference(draw.normal(truth, 1, 8), equivalence_margin=1).t_p < 0.05 for _ in range(1000)])
    assert 0.74 <= power <= 0.86


def test_equal_seeds_say_everything():
    same = paired_difference(np.zeros(4), equivalence_margin=0.1)
    assert (same.t_p, same.equivalence_p) == (1.0, 0.0)
    shifted = paired_difference(np.ones(4), equivalence_margin=0.1)
    assert (shifted.t_p, shifted.equivalence_p) == (0.0, 1.0)
    alone = paired_difference(np.ones(1), equivalence_margin=0.1)
    assert (alone.low, alone.detectable, alone.t_p) == (None, None, 1.0)


def test_the_best_of_n_is_that_of_all_subsets():
    scores = np.random.default_rng(4).normal(size=6)
    for n, found in enumerate(best_of(scores), start=1):
        assert found == pytest.approx(np.mean([max(some) for some in itertools.combinations(scores, n)]))


def test_the_best_of_n_uniform_scores_is_n_over_n_plus_one():
    # T14; order statistics of N uniform scores put the i-th smallest at i/(N + 1) on average
    total = 20
    found = best_of(np.arange(1, total + 1) / (total + 1))
    assert found == pytest.approx([n / (n + 1) for n in range(1, total + 1)])
    assert comb(total, 3) > 0


def test_lack_of_fit_is_uniform_when_the_formula_is_right():
    draw = np.random.default_rng(5)
    p_values = []
    for _ in range(1000):
        values = draw.normal(0, 1, 6)
        variance = draw.chisquare(20) / 20
        p_values.append(lack_of_fit(values - values.mean(), variance, parameters=1, degrees=20))
    assert stats.kstest(p_values, "uniform").pvalue > 0.001
    assert lack_of_fit(np.array([5.0, -5.0, 0.0]), 0.1, parameters=1, degrees=20) < 1e-6
    assert lack_of_fit(np.zeros(3), 0.1, parameters=1, degrees=20) == 1.0


def test_the_criterion_is_infinite_without_data():
    assert aicc(1.0, 4, 2) == np.inf
    assert aicc(1.0, 10, 2) == pytest.approx(10 * np.log(0.1) + 6 + 24 / 6)
