"""Blocks of neighbours: length by the published rule, covariance as the bootstrap itself has it."""

import numpy as np
import pytest

from critbatch.statistics.blocks import block_length, covering_block_length, mean_covariance


def autoregressive(count: int, correlation: float, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(count)
    for step in range(1, count):
        values[step] = correlation * values[step - 1] + (1 - correlation**2) ** 0.5 * values[step]
    return values


def test_the_covariance_is_that_of_drawn_blocks():
    draw = np.random.default_rng(0)
    values = np.stack([autoregressive(60, 0.7, 1), autoregressive(60, 0.3, 2)], 1)
    starts = draw.integers(60 - 5 + 1, size=(20000, 12))
    means = np.array([values[(row[:, None] + np.arange(5)).ravel()].mean(0) for row in starts])
    drawn = np.cov(means.T) * 60 / 55  # the factor is ours
    np.testing.assert_allclose(mean_covariance(values, 5), drawn, rtol=0.05)  # 20,000 draws: 1% a standard error


def test_blocks_of_one_are_single_values():
    values = np.random.default_rng(3).standard_normal((50, 2))
    np.testing.assert_allclose(mean_covariance(values, 1), np.cov(values.T) / 50, rtol=1e-12)


@pytest.mark.parametrize("correlation", [0.5, 0.8])
def test_the_length_of_an_autoregressive_series_is_near_the_best(correlation):
    best = (6 * correlation**2 / (1 - correlation**2) ** 2 * 2000) ** (1 / 3)  # their formula at the true covariances
    lengths = [block_length(autoregressive(2000, correlation, seed)) for seed in range(40)]
    assert np.median(lengths) == pytest.approx(best, rel=0.2)


def test_independent_values_need_no_blocks():
    lengths = [block_length(np.random.default_rng(seed).standard_normal(500)) for seed in range(20)]
    assert np.median(lengths) <= 2


def test_of_several_series_the_longest_memory_counts_and_intervals_take_more():
    short, long = autoregressive(500, 0.0, 1), autoregressive(500, 0.9, 1)
    both = np.stack([short, long], 1)
    assert block_length(both) == block_length(long) > block_length(short)
    assert covering_block_length(both) == 2 * block_length(both)
    assert covering_block_length(short[:, None]) == 30  # 1.3 sqrt(500)


def test_a_constant_series_has_blocks_of_one():
    assert block_length(np.ones(30)) == 1


def test_less_than_two_blocks_are_refused():
    with pytest.raises(ValueError, match=r"block=6.*11 steps must hold at least two"):
        mean_covariance(np.ones((11, 2)), 6)
