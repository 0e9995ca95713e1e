"""The noise scale averaged over training: against made-up seeds whose truth is known."""

import numpy as np
import pytest

from critbatch.analysis.noise_over_training import (
    NoiseAverage,
    SeedMoments,
    less_bias,
    noise_average,
    noise_looks,
    step_weights,
    suggestion,
)
from critbatch.estimate import Estimate

STEPS = np.array([0, 1, 3, 10, 30, 100], dtype=float)


def made_up(scales: np.ndarray, spread: float, seeds: int, draw: np.random.Generator) -> SeedMoments:
    """Return moments whose means have these scales; |G|^2 falls along the way and differs between seeds."""
    norms = (1 + STEPS) ** -0.7
    width = np.log(1 + spread**2) ** 0.5
    seen = norms * np.exp(width * draw.standard_normal((seeds, len(STEPS))) - width**2 / 2)
    traces = scales * norms * np.exp(0.1 * draw.standard_normal((seeds, len(STEPS))) - 0.005)
    return SeedMoments(STEPS, STEPS, traces, traces, seen, np.full(seeds, np.inf))


def average(moments: SeedMoments, first: float = 0.0, last: float = 100.0) -> Estimate:
    return noise_average(moments, noise_looks(moments, batch_size=None), first, last).noise_scale


@pytest.mark.parametrize(("first", "last"), [(0, 100), (50, 100), (0, 57), (2, 20)])
def test_the_mean_over_steps_of_a_line_is_exact(first, last):
    weights = step_weights(STEPS, first, last)
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    assert weights @ (3 + 2 * STEPS) == pytest.approx(3 + first + last, rel=1e-12)


def test_an_empty_stretch_is_its_last_look():
    assert step_weights(STEPS, 100, 100).tolist() == [0, 0, 0, 0, 0, 1]
    assert step_weights(STEPS[:1], 0, 0).tolist() == [1]


@pytest.mark.parametrize(("seeds", "spread"), [(3, 0.3), (5, 0.3), (10, 0.6)])
def test_the_interval_holds_the_truth_as_often_as_it_says(seeds, spread):
    """100 studies of a scale that grows from 10 to 250: at coverage 0.95, fewer than 86 is 4 standard errors off."""
    draw = np.random.default_rng(7)
    scales = 10 * (1 + STEPS) ** 0.7
    truth = float(step_weights(STEPS, 0, 100) @ scales)
    found = [average(made_up(scales, spread, seeds, draw)) for _ in range(100)]
    held = sum(one.value is not None and one.low <= truth <= one.high for one in found)
    wrong = sum(one.value is not None and one.low <= 1.7 * truth <= one.high for one in found)
    assert held >= 86
    assert wrong < held  # what is 70 % off is held less often


def test_beales_factors_take_the_bias_of_the_ratio():
    draw = np.random.default_rng(8)
    found = [average(made_up(np.full(6, 20.0), 0.5, 6, draw)).value for _ in range(150)]
    values = np.array([one for one in found if one is not None])
    error = values.std(ddof=1) / len(values) ** 0.5
    assert len(values) > 140
    assert 8 * error <= 0.12 * 20  # a bias of 12 % would be seen
    assert abs(values.mean() - 20) <= 4 * error
    one = made_up(np.full(6, 20.0), 0.5, 6, draw)
    assert (less_bias(one.traces, one.squared_norms) < 1).any()


def test_a_gradient_that_is_not_told_apart_from_zero_gives_a_bound_and_never_a_number():
    """Where |G|^2 is 0 on the last stretch the mean is infinite; at most one study in 20 may say otherwise."""
    draw = np.random.default_rng(9)
    scales = np.array([10.0, 10, 10, 20, 20, 20])
    valued = 0
    for _ in range(100):
        moments = made_up(scales, 0.1, 5, draw)
        moments.squared_norms[:, -1] = 0.02 * draw.standard_normal(5)
        found = average(moments)
        valued += found.value is not None
        if found.value is None and found.low is not None:
            assert found.low < float(step_weights(STEPS, 0, 100)[:-1] @ scales[:-1]) * 1.2
            assert "step 100" in found.reason
            assert "not told apart from 0" in found.reason
    assert valued <= 12  # 5 expected, and 3 standard errors


def test_one_seed_gives_no_interval_and_says_so():
    found = average(made_up(np.full(6, 20.0), 0.1, 1, np.random.default_rng(1)))
    assert found.value is None
    assert "at least 2" in found.reason


def test_identical_seeds_have_an_interval_of_no_width():
    moments = made_up(np.full(6, 20.0), 0.0, 1, np.random.default_rng(1))
    twice = SeedMoments(
        STEPS, STEPS, *(np.repeat(one, 3, 0) for one in (moments.losses, moments.traces, moments.squared_norms)),
        np.full(3, np.inf),
    )  # fmt: skip
    found = average(twice)
    assert found.low == pytest.approx(found.value, rel=1e-6)
    assert found.high == pytest.approx(found.value, rel=1e-6)


def estimate(value=None, low=None, high=None) -> NoiseAverage:
    return NoiseAverage(0, 10, Estimate(value, low, high, 0.95, 3, "examples", "m", "d", None if value else "why"))


def test_a_suggestion_has_the_interval_or_the_bound_or_is_not_made():
    assert "about 100 [80, 130]" in suggestion(estimate(100.0, 80.0, 130.0))
    assert "60 at least" in suggestion(estimate(low=60.0))
    assert suggestion(estimate(low=0.5)) is None
    assert suggestion(estimate()) is None
