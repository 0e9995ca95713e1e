"""The advised number of measurements does what it promises."""

import numpy as np
import pytest

from critbatch.noise import measurements_needed, measurements_needed_after, noise_scale
from critbatch.noise.planning import to_resolve
from critbatch.worlds.gradients import gaussian_moments

BATCH = 64


def draws(signal: float, dimension: int, shape, seed: int = 0, micro_batches: int = 16):
    return gaussian_moments(
        signal * BATCH,
        batch_size=BATCH,
        dimension=dimension,
        micro_batches=micro_batches,
        measurements=shape,
        generator=np.random.default_rng(seed),
    )


def half_widths(signal: float, dimension: int, count: int) -> np.ndarray:
    found = [noise_scale(*pair) for pair in zip(*draws(signal, dimension, (150, count)), strict=True)]
    return np.array([(one.high - one.low) / 2 / one.value for one in found])


@pytest.mark.parametrize(("signal", "dimension"), [(1.0, 10), (10.0, 1000), (50.0, 1000), (0.1, 10)])
def test_the_planned_number_gives_the_wanted_width(signal, dimension):
    planned = measurements_needed(
        signal * BATCH, 1.0, batch_size=BATCH, effective_dimension=dimension, micro_batches=16, relative_error=0.2
    )
    # 10%: the interval is skewed, so half its width is a few percent more than the linearisation's
    assert np.median(half_widths(signal, dimension, int(planned.value))) == pytest.approx(0.2, rel=0.1)


@pytest.mark.parametrize(("signal", "dimension"), [(1.0, 10), (10.0, 1000)])
def test_the_number_seen_in_measurements_agrees_with_the_formula(signal, dimension):
    formula = measurements_needed(
        signal * BATCH, 1.0, batch_size=BATCH, effective_dimension=dimension, micro_batches=16, relative_error=0.1
    )
    seen = measurements_needed_after(*draws(signal, dimension, 4000), relative_error=0.1)
    assert seen.value == pytest.approx(formula.value, rel=0.15)  # variance of 4000: 2-3% a standard error
    pilots = draws(signal, dimension, (200, 40), seed=1)
    few = [measurements_needed_after(*pair, relative_error=0.1) for pair in zip(*pilots, strict=True)]
    assert 0.7 < np.median([one.value / formula.value for one in few if one.value]) < 1.4


def test_far_above_the_batch_size_it_is_the_short_formula():
    found = measurements_needed(
        1e4, 1.0, batch_size=10, effective_dimension=1e3, relative_error=0.1, micro_batches=1000
    )
    assert found.value == pytest.approx(1.96**2 * 2 * 1000**2 / (1e3 * 0.01), rel=0.01)


@pytest.mark.parametrize("norm", [0.0, -1.0])
def test_no_number_is_made_up_without_a_norm(norm):
    found = measurements_needed(1.0, norm, batch_size=8, effective_dimension=10, relative_error=0.1)
    assert found.value is None
    assert "no number of measurements" in found.reason


def test_where_the_norm_may_be_0_there_is_a_bound_only():
    found = measurements_needed_after(*draws(50.0, 10, 20, seed=2, micro_batches=2), relative_error=0.2)
    assert found.value is None
    assert found.low > 20
    truth = measurements_needed(
        50.0 * BATCH, 1.0, batch_size=BATCH, effective_dimension=10, micro_batches=2, relative_error=0.2
    )
    assert found.low < truth.value


@pytest.mark.parametrize("signal", [20.0, 50.0])
def test_four_of_five_studies_of_the_advised_size_resolve_the_norm(signal):
    spread = float(draws(signal, 100, 20000)[1].std())
    pilot = round((1.2 * spread) ** 2)  # at which the true |G|^2 is 1.2 standard errors
    more = int(to_resolve(1.0, spread / pilot**0.5, count=pilot, level=0.95).split("about ")[1].split()[0])
    found = [noise_scale(*pair) for pair in zip(*draws(signal, 100, (400, pilot + more), seed=3), strict=True)]
    assert np.mean([one.value is not None for one in found]) == pytest.approx(0.8, abs=0.08)  # 2% a standard error


def test_it_says_at_least_where_the_estimate_says_nothing():
    assert "at least" in to_resolve(-0.1, 1.0, count=20, level=0.95)
    assert "at least 26 more" in to_resolve(0.0, 1.0, count=20, level=0.95)  # 20 (((1.645 + 0.842)/1.645)^2 - 1)
    assert "about" in to_resolve(1.2, 1.0, count=20, level=0.95)


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match=r"relative_error=0.*above 0"):
        measurements_needed(1.0, 1.0, batch_size=8, effective_dimension=10, relative_error=0)
    with pytest.raises(ValueError, match="at least 2 measurements"):
        measurements_needed_after(np.ones(1), np.ones(1), relative_error=0.1)
