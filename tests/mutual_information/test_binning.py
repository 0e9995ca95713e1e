"""Binned information: exact values of uniform variables, a twin by counting, and what the bins alone decide."""

import math
from collections import Counter

import numpy as np
import pytest

from critbatch.mutual_information.binning import Fixed, Range, Saturating, binned_information, discretise


def naive(codes: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return both informations from counts, term by term of the definitions."""
    rows, count = [tuple(row) for row in codes.tolist()], len(codes)
    states, classes, both = Counter(rows), Counter(labels.tolist()), Counter(zip(rows, labels.tolist(), strict=True))
    of_input = sum(-n / count * math.log2(n / count) for n in states.values())
    of_target = sum(n / count * math.log2(n * count / (states[t] * classes[y])) for (t, y), n in both.items())
    return of_input, of_target


@pytest.mark.parametrize("units", [1, 3, 40])
@pytest.mark.parametrize("bins", [2, 300])
def test_it_equals_counting(units, bins):
    draw = np.random.default_rng(units)
    values = draw.uniform(-1, 1, (200, units)) if bins == 2 else draw.integers(0, 3, (200, units)) / 3
    codes, labels = discretise(values, Fixed(bins).edges(values)), draw.integers(5, 9, 200)
    assert binned_information(codes, labels) == pytest.approx(naive(codes, labels), rel=1e-12)


def test_uniform_variables_have_their_exact_bits():
    values = np.array([[i, j, k] for i in range(4) for j in range(2) for k in range(8)], dtype=float)
    codes = discretise(values[:, :2], Range(8).edges(values))
    assert binned_information(codes, values[:, 0]) == pytest.approx((3, 2), abs=1e-12)  # 4 x 2 states know 4 classes
    assert binned_information(codes, values[:, 2]) == pytest.approx((3, 0), abs=1e-12)
    assert binned_information(codes, (values[:, 0] < 2) ^ (values[:, 1] > 0)) == pytest.approx((3, 1), abs=1e-12)
    everything = discretise(values, Range(8).edges(values))
    assert binned_information(everything, values[:, 2]) == pytest.approx((6, 3), abs=1e-12)


def test_a_layer_without_units_or_in_one_bin_knows_nothing():
    labels = np.arange(6) % 2
    for codes in (np.zeros((6, 0), dtype=np.uint8), np.zeros((6, 3), dtype=np.uint8)):
        assert binned_information(codes, labels) == pytest.approx((0, 0), abs=1e-12)


def test_bins_hold_their_lower_edges_and_the_outermost_what_is_beyond():
    values = np.array([-7.0, -1.0, -0.5, -0.4999, 0.0, 0.9999, 1.0, 7.0])
    assert discretise(values, Fixed(4).edges(values)).tolist() == [0, 0, 1, 1, 2, 3, 3, 3]
    assert discretise(values, Range(2).edges(values)).tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert len(np.unique(discretise(np.linspace(-1, 1, 10_000), Fixed().edges(values)))) == 30
    assert discretise(values, Range(1000).edges(values)).max() == 999


def test_a_range_does_not_see_the_scale_of_relu_activations():
    values = np.maximum(np.random.default_rng(0).normal(size=(50, 4)), 0)
    codes = [discretise(scale * values, Range(30).edges(scale * values)) for scale in (1, 64)]
    np.testing.assert_array_equal(*codes)
    assert discretise(np.ones((5, 2)), Range().edges(np.ones((5, 2)))).max() == discretise(
        np.ones(1), Range().edges(np.ones(1))
    )


def test_saturating_edges_are_even_before_the_tanh():
    before = np.random.default_rng(1).uniform(-9, 9, 4000)
    found = discretise(np.tanh(before), Saturating(41, reach=10.0).edges(before))
    np.testing.assert_array_equal(found, np.floor((before + 10) / 0.5).astype(int))


def test_compression_by_saturation_is_seen_by_fixed_bins_and_undone_by_saturating_ones():
    before, labels = np.random.default_rng(2).uniform(-1, 1, (512, 1)), np.zeros(512)

    def known(bins, scale: float) -> float:
        activations = np.tanh(scale * before)
        return binned_information(discretise(activations, bins.edges(activations)), labels)[0]

    assert known(Fixed(30), 1.0) > 4 > 2 > known(Fixed(30), 15.0)
    assert known(Saturating(100), 15.0) > known(Saturating(100), 1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Fixed(0), r"Fixed\(bins=0.*at least 1 bin"),
        (lambda: Fixed(3, 1.0, 1.0), "low below high"),
        (lambda: Range(0), r"Range\(bins=0\)"),
        (lambda: Saturating(1), r"count=1.*at least 2 edges"),
        (lambda: Saturating(9, 0.0), r"reach=0.0\)"),
        (lambda: discretise(np.array([1.0, np.nan, np.inf]), np.arange(3.0)), "2 of 3 activations are not finite"),
        (lambda: binned_information(np.zeros((3, 1), dtype=int), np.zeros(2)), "3 rows of bins and 2 labels"),
        (lambda: binned_information(np.zeros((0, 1), dtype=int), np.zeros(0)), "0 rows of bins"),
    ],
)
def test_what_cannot_be_binned_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
