"""The signed-rank test against scipy's, and against every way to choose signs where there are ties."""

import itertools

import numpy as np
import pytest
from scipy.stats import rankdata, wilcoxon

from critbatch.statistics.signed_rank import signed_rank_test


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_scipy_where_there_are_no_ties(seed):
    values = np.random.default_rng(seed).normal(0.4, 1.0, size=3 + seed)
    assert signed_rank_test(values) == pytest.approx(wilcoxon(values, method="exact").pvalue, rel=1e-12)


@pytest.mark.parametrize("values", [[1, 1, 2, -2, 3], [2, 2, 2, 2, -1, -1], [1, -1, 1, 1], [0, 1, 2, 2, 0, -4]])
def test_agrees_with_counting_all_signs_where_there_are_ties(values):
    kept = np.array([one for one in values if one])
    ranks = rankdata(np.abs(kept))
    sums = [ranks[np.array(signs)].sum() for signs in itertools.product([True, False], repeat=len(kept))]
    seen = ranks[kept > 0].sum()
    least = min(seen, ranks.sum() - seen)
    expected = min(1.0, 2 * np.mean([one <= least + 1e-9 for one in sums]))
    assert signed_rank_test(np.array(values, dtype=float)) == pytest.approx(expected, rel=1e-12)


def test_five_of_a_kind_are_not_enough_and_six_are():
    assert signed_rank_test(np.arange(1.0, 6.0)) == pytest.approx(0.0625)
    assert signed_rank_test(np.arange(1.0, 7.0)) == pytest.approx(0.03125)
    assert signed_rank_test(-np.arange(1.0, 7.0)) == pytest.approx(0.03125)


def test_nothing_is_told_by_nothing():
    assert signed_rank_test(np.zeros(4)) == 1.0
    assert signed_rank_test(np.array([])) == 1.0
