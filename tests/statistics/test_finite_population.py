"""Batches of a finite set: every formula against an enumeration of all that can be drawn, and against our samplings."""

import itertools
import math

import numpy as np
import pytest

from critbatch.randomness import generator
from critbatch.samplings.reshuffle import Reshuffle
from critbatch.samplings.with_replacement import WithReplacement
from critbatch.samplings.without_replacement import WithoutReplacement
from critbatch.statistics.finite_population import (
    BATCHES,
    batch_correlation,
    batch_correlation_of_data,
    batch_variance,
)
from tests.problems import assert_unbiased

VALUES = np.array([0.3, -1.2, 2.5, 0.9])
PAIRS = [(kind, size) for kind in BATCHES for size in (1, 2, 3, 4)]


def pairs_of(kind: str, values: np.ndarray, size: int) -> np.ndarray:
    """Return the means of two batches in every way in which they can be drawn, all alike likely, shape (way, 2)."""
    indices = range(len(values))
    if kind == "epoch":
        chosen = [(one[:size], one[size : 2 * size]) for one in itertools.permutations(indices)]
    else:
        batches = list(
            itertools.product(indices, repeat=size) if kind == "with" else itertools.combinations(indices, size)
        )
        chosen = list(itertools.product(batches, batches))
    return np.array([[values[list(batch)].mean() if batch else np.nan for batch in pair] for pair in chosen])


@pytest.mark.parametrize(("kind", "size"), PAIRS)
def test_variance_and_correlation_given_the_set_are_those_of_all_that_can_be_drawn(kind, size):
    values = VALUES[:3] if kind == "with" else VALUES
    if size > len(values):
        return
    apart = pairs_of(kind, values, size) - values.mean()
    variance = (apart[:, 0] ** 2).mean()
    assert batch_variance(kind, size, len(values)) * values.var(ddof=1) == pytest.approx(variance, rel=1e-12, abs=1e-15)
    found = batch_correlation(kind, size, len(values))
    if math.isnan(found):
        assert 2 * size > len(values) if kind == "epoch" else variance < 1e-15
    else:
        assert found * variance == pytest.approx((apart[:, 0] * apart[:, 1]).mean(), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize(
    ("kind", "size"), [("without", 1), ("without", 2), ("without", 3), ("with", 1), ("with", 2), ("epoch", 1)]
)
def test_the_correlation_with_a_random_training_set_is_that_over_all_training_sets(kind, size):
    population = np.array([0.0, 1.0, 5.0])
    sets = [population[list(one)] for one in itertools.product(range(3), repeat=3)]
    apart = np.concatenate([pairs_of(kind, one, size) for one in sets]) - population.mean()
    naive = (apart[:, 0] * apart[:, 1]).mean() / (apart[:, 0] ** 2).mean()
    assert batch_correlation_of_data(kind, size, 3) == pytest.approx(naive, rel=1e-12, abs=1e-14)


def test_the_table_of_the_hypothesis():
    assert batch_correlation("epoch", 500, 1000) == -1
    assert batch_correlation_of_data("without", 1000, 1000) == 1
    assert batch_correlation_of_data("with", 1000, 1000) == pytest.approx(0.5, abs=1e-3)
    assert batch_variance("without", 1000, 1000) == 0
    assert math.isnan(batch_correlation_of_data("epoch", 501, 1000))


@pytest.mark.parametrize(
    ("kind", "sampling"), [("without", WithoutReplacement()), ("with", WithReplacement()), ("epoch", Reshuffle())]
)
def test_batches_of_our_samplings_vary_as_predicted(kind, sampling):
    values = np.arange(12.0)
    means = [
        [values[batch.numpy()].mean() for batch in sampling.epoch(
            12, 4, order=generator(0, "order", epoch), base=generator(0, "base"))]
        for epoch in range(1500)
    ]  # fmt: skip
    apart = np.array(means) - values.mean()
    variance = batch_variance(kind, 4, 12) * values.var(ddof=1)
    assert_unbiased(apart[:, 0] ** 2, variance, smallest_bias=0.3)
    expected = batch_correlation(kind, 4, 12)
    # 1 is added so that a correlation of 0 can be missed by a share
    assert_unbiased(1 + apart[:, 0] * apart[:, 1] / variance, 1 + expected, smallest_bias=0.5)


@pytest.mark.parametrize(
    ("kind", "size", "count"), [("without", 5, 4), ("epoch", 5, 4), ("with", 0, 4), ("with", 1, 1)]
)
def test_batches_that_cannot_be_drawn_are_refused(kind, size, count):
    for function in (batch_variance, batch_correlation, batch_correlation_of_data):
        with pytest.raises(ValueError, match=f"a batch of {size}"):
            function(kind, size, count)
