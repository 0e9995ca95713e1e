"""Coverage of the intervals: fixed numbers of made-up studies, with the error of the coverage itself."""

import numpy as np
import pytest

from critbatch.statistics.fieller import ratio_interval
from critbatch.statistics.means import margin, mean_estimate
from critbatch.statistics.resampling import drawn_weights, expanded_interval

STUDIES = 2000


def assert_covers(hits: np.ndarray, lowest: float, highest: float) -> None:
    """Fail if the coverage lies outside of the band by more than 3 of its own standard errors."""
    found, error = hits.mean(), (hits.mean() * (1 - hits.mean()) / len(hits)) ** 0.5
    assert lowest - 3 * error <= found <= highest + 3 * error, f"coverage {found:.3f} +- {error:.3f}"


@pytest.mark.parametrize("count", [3, 5, 10])
def test_student_interval_covers(count):
    draw = np.random.default_rng(0)
    values = draw.normal(1.0, 2.0, (STUDIES, count))
    hits = np.array([abs(row.mean() - 1.0) <= margin(row, 0.95) for row in values])
    assert_covers(hits, 0.95, 0.95)


def test_geometric_mean_interval_covers():
    draw = np.random.default_rng(1)
    hits = []
    for _ in range(STUDIES):
        found = mean_estimate(draw.lognormal(2.0, 0.5, 5), unit="steps", definition="made up", logarithmic=True)
        hits.append(found.low <= np.exp(2.0) <= found.high)
    assert_covers(np.array(hits), 0.95, 0.95)


def test_one_value_has_no_interval_and_none_no_value():
    one = mean_estimate(np.array([3.0]), unit="steps", definition="made up")
    assert (one.value, one.low, one.high) == (3.0, None, None)
    none = mean_estimate(np.zeros(0), unit="steps", definition="made up")
    assert none.value is None
    assert none.reason == "no run has a value"


@pytest.mark.parametrize(("signal", "count"), [(5.0, 5), (1.0, 20), (0.3, 20)])
def test_fieller_covers_also_when_the_denominator_is_hardly_resolved(signal, count):
    draw = np.random.default_rng(2)
    hits = []
    unbounded = 0
    for _ in range(STUDIES):
        bottom = draw.normal(signal, 1.0, count)
        top = 3 * signal + draw.normal(0, 1.0, count)
        found = ratio_interval(top, bottom)
        unbounded += found.low is None or found.high is None
        hits.append((found.low is None or found.low <= 3) and (found.high is None or found.high >= 3))
    # the hull of an unbounded set may cover more than the set itself
    assert_covers(np.array(hits), 0.94, 0.98)
    assert (unbounded > STUDIES / 3) == (signal < 0.5)


def test_a_delta_method_interval_would_not_cover():
    draw = np.random.default_rng(2)
    hits = []
    for _ in range(STUDIES):
        bottom, top = draw.normal(0.3, 1.0, 20), 0.9 + draw.normal(0, 1.0, 20)
        ratio = top.mean() / bottom.mean()
        error = (top - ratio * bottom).std(ddof=1) / 20**0.5 / abs(bottom.mean())
        hits.append(abs(ratio - 3) <= 1.96 * error)
    with pytest.raises(AssertionError, match="coverage"):
        assert_covers(np.array(hits), 0.94, 0.98)


def test_a_denominator_of_zero_excludes_nothing():
    draw = np.random.default_rng(3)
    found = [ratio_interval(draw.normal(5, 1, 10), draw.normal(0, 1, 10)) for _ in range(200)]
    assert np.mean([one.high is None for one in found]) > 0.9


def test_fieller_needs_two_pairs():
    with pytest.raises(ValueError, match=r"at least 2 pairs.*got 1"):
        ratio_interval(np.ones(1), np.ones(1))


def covered_by_bootstrap(count: int, *, expand: bool) -> np.ndarray:
    draw = np.random.default_rng(4)
    hits = []
    for _ in range(500):
        values = draw.normal(0.0, 1.0, count)
        means = (drawn_weights(count, 1000, draw)[1:] / count) @ values
        low, high = expanded_interval(means, count=count) if expand else np.quantile(means, [0.025, 0.975])
        hits.append(low <= 0 <= high)
    return np.array(hits)


def test_expanded_bootstrap_covers_a_mean_of_five():
    assert_covers(covered_by_bootstrap(5, expand=True), 0.92, 0.97)


def test_the_plain_percentile_bootstrap_would_not():
    with pytest.raises(AssertionError, match="coverage"):
        assert_covers(covered_by_bootstrap(5, expand=False), 0.92, 0.97)


def test_infinite_draws_may_be_an_end():
    draws = np.concatenate([np.ones(50), np.full(50, np.inf)])
    assert expanded_interval(draws, count=5) == (1.0, np.inf)
