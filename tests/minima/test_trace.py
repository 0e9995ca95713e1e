"""Trace and Frobenius norm: unbiased, naive twins, coverage of the intervals, Hutch++ against Hutchinson."""

import numpy as np
import pytest
import torch

from critbatch.minima.trace import hutch_plus_plus, hutchinson
from tests.minima.matrices import Dense, draws, turned
from tests.problems import assert_unbiased

REPEATS = 300
DECAYING = 1 / torch.arange(1.0, 31.0, dtype=torch.float64) ** 1.5
MIXED = torch.randn(40, generator=draws(7), dtype=torch.float64) + 0.5
# Coverage of nominal 0.95 intervals in 3,000 repeats: of the trace, then of the norm.
COVERAGE = {
    (hutchinson, "decaying"): (0.898, 0.874), (hutchinson, "mixed"): (0.945, 0.946),
    (hutch_plus_plus, "decaying"): (0.939, 0.912), (hutch_plus_plus, "mixed"): (0.953, 0.941),
}  # fmt: skip
PRODUCTS = {hutchinson: {"probes": 10}, hutch_plus_plus: {"products": 30}}


@pytest.mark.parametrize(("estimator", "spectrum"), COVERAGE)
def test_they_are_unbiased_and_their_intervals_cover_as_stated(estimator, spectrum):
    # 300 repeats see a bias of 20% of the value, and a coverage that is 5 points off where it is 0.95, 8 where it is 0.87
    values = {"decaying": DECAYING, "mixed": MIXED}[spectrum]
    matrix, generator = Dense(turned(values)), draws(1)
    found = [estimator(matrix, generator, **PRODUCTS[estimator]) for _ in range(REPEATS)]
    truths = float(values.sum()), float(values.square().sum())
    for column, (truth, stated) in enumerate(zip(truths, COVERAGE[estimator, spectrum], strict=True)):
        column_found = [one[column] for one in found]
        assert_unbiased(np.array([one.value for one in column_found]), truth, smallest_bias=0.2)
        covered = np.mean([one.low <= truth <= one.high for one in column_found])
        assert abs(covered - stated) < 4 * (stated * (1 - stated) / REPEATS) ** 0.5


def test_hutchinson_is_the_mean_over_the_same_probes_by_hand():
    matrix = turned(MIXED).numpy()
    trace, norm = hutchinson(Dense(turned(MIXED)), draws(3), probes=4)
    again = draws(3)
    probes = [2 * torch.randint(2, (40,), generator=again, dtype=torch.float64).numpy() - 1 for _ in range(4)]
    forms = [probe @ matrix @ probe for probe in probes]
    assert trace.value == pytest.approx(np.mean(forms), rel=1e-12)
    half = 3.182446305 * np.std(forms, ddof=1) / 2  # Student's quantile with 3 degrees of freedom
    assert trace.high - trace.value == pytest.approx(half, rel=1e-8)
    assert norm.value == pytest.approx(np.mean([((matrix @ probe) ** 2).sum() for probe in probes]), rel=1e-12)
    assert (trace.count, trace.unit, norm.unit) == (4, "1", "1")


def test_hutch_plus_plus_is_the_algorithm_by_hand():
    matrix = turned(DECAYING).numpy()
    trace, norm = hutch_plus_plus(Dense(turned(DECAYING)), draws(3), products=12)
    again = draws(3)
    probes = np.array([2 * torch.randint(2, (30,), generator=again, dtype=torch.float64).numpy() - 1 for _ in range(8)])
    left, values, _ = np.linalg.svd(matrix @ probes[:4].T, full_matrices=False)
    assert values.min() > 1e-6
    inside, outside = left @ left.T, np.eye(30) - left @ left.T
    for found, power in ((trace, matrix), (norm, matrix @ matrix)):
        by_hand = np.trace(inside @ power) + np.mean([one @ outside @ power @ outside @ one for one in probes[4:]])
        assert found.value == pytest.approx(by_hand, rel=1e-10)


def test_of_a_decaying_spectrum_hutch_plus_plus_knows_more_for_the_same_products():
    matrix = Dense(turned(DECAYING))
    generator, truth = draws(2), float(DECAYING.sum())
    plain = [hutchinson(matrix, generator, probes=30)[0].value - truth for _ in range(60)]
    matrix.products = 0
    better = [hutch_plus_plus(matrix, generator, products=30)[0].value - truth for _ in range(60)]
    assert matrix.products == 1800
    # measured: 8 times smaller; the ratio of two standard deviations of 60 has a standard error of 13%
    assert np.std(better) < np.std(plain) / 4


def test_what_is_known_exactly_has_no_width():
    diagonal = Dense(torch.diag(MIXED))
    trace, _ = hutchinson(diagonal, draws(), probes=2)
    assert (trace.low, trace.value, trace.high) == pytest.approx([float(MIXED.sum())] * 3)
    low_rank = Dense(turned(torch.cat([torch.tensor([3.0, 1.0, 1.0]), torch.zeros(30)])))
    for one, truth in zip(hutch_plus_plus(low_rank, draws(), products=12), (5, 11), strict=True):
        assert (one.low, one.value, one.high) == pytest.approx([truth] * 3)
    for one, truth in zip(hutch_plus_plus(Dense(torch.tensor([[4.0]])), draws(), products=9), (4, 16), strict=True):
        assert (one.low, one.value, one.high) == pytest.approx([truth] * 3)


def test_a_product_that_is_not_finite_has_no_estimate():
    lost = Dense(turned(MIXED) * torch.nan)
    for one in (*hutchinson(lost, draws(), unit="u"), *hutch_plus_plus(lost, draws())):
        assert one.value is None
        assert one.reason == "a product was not finite"
    assert hutchinson(Dense(turned(MIXED)), draws(), unit="u")[1].unit == "(u) squared"


def test_too_few_products_for_an_interval_are_refused():
    with pytest.raises(ValueError, match="at least 2"):
        hutchinson(Dense(turned(MIXED)), draws(), probes=1)
    with pytest.raises(ValueError, match="at least 4"):
        hutch_plus_plus(Dense(turned(MIXED)), draws(), products=3)
