"""Fisher's exact test beside a published table and beside another implementation."""

import numpy as np
import pytest
from scipy.stats import fisher_exact as reference

from critbatch.statistics.contingency import fisher_exact


def test_the_lady_tasting_tea():
    assert fisher_exact([[3, 1], [1, 3]]) == pytest.approx(
        34 / 70
    )  # Fisher (1935): 17/70 one-sided, and it is symmetric
    assert fisher_exact([[4, 0], [0, 4]]) == pytest.approx(2 / 70)


def test_any_table_is_as_elsewhere():
    draw = np.random.default_rng(0)
    for _ in range(200):
        counts = draw.integers(0, 12, size=(2, 2)).tolist()
        assert fisher_exact(counts) == pytest.approx(float(reference(counts)[1]), rel=1e-9), counts
