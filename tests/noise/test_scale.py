"""The noise scale's interval: how often it is right, what it says where it knows nothing, and series of steps."""

import numpy as np
import pytest

from critbatch.noise import lag_one_alignment, noise_moments, noise_scale, noise_scale_along
from critbatch.worlds.gradients import gaussian_moments, steps_on_a_quadratic, wandering_moments
from tests.noise.coverage import assert_covers, covered, open_share
from tests.problems import assert_unbiased

STUDIES = 1000  # standard error of a coverage 0.7%
BATCH = 64


def studies(signal: float, dimension: int, count: int, micro_batches: int, repeats: int = STUDIES):
    """Return the noise scale of made-up studies at noise scale / batch size = `signal`."""
    tops, bottoms = gaussian_moments(
        signal * BATCH,
        batch_size=BATCH,
        dimension=dimension,
        micro_batches=micro_batches,
        measurements=(repeats, count),
        generator=np.random.default_rng([int(signal), dimension, count, micro_batches]),
    )
    return [noise_scale(top, bottom, batch_size=BATCH) for top, bottom in zip(tops, bottoms, strict=True)]


CELLS = [
    (signal, dimension, count, 16)
    for signal in (1.0, 10.0, 50.0)
    for dimension in (10, 1000)
    for count in (10, 20, 200)
]
CELLS += [(1.0, 10, 10, 2), (10.0, 10, 10, 2), (50.0, 1000, 20, 2)]


@pytest.mark.parametrize(("signal", "dimension", "count", "micro_batches"), CELLS)
def test_the_reported_set_covers(signal, dimension, count, micro_batches):
    assert_covers(covered(studies(signal, dimension, count, micro_batches), signal * BATCH), 0.92, 0.97)


def test_it_is_undetermined_where_it_should_be_and_not_elsewhere():
    assert open_share(studies(50.0, 10, 20, 16, 400)) > 0.85
    assert open_share(studies(50.0, 1000, 200, 16, 400)) < 0.05
    assert open_share(studies(1.0, 10, 20, 16, 400)) == 0


def test_an_undetermined_scale_keeps_a_bound_and_names_a_number_only_where_there_is_one():
    found = [one for one in studies(50.0, 10, 20, 16, 400) if one.value is None]
    assert all(one.low is not None and one.low > 0 for one in found)
    about, least = ([one for one in found if word in one.reason] for word in ("about", "at least"))
    assert len(about) + len(least) == len(found)
    assert about
    assert least
    assert all("no number of them is known to be enough" in one.reason for one in least)
    assert all("more than 64 examples" in one.reason for one in found)


def test_a_norm_below_0_by_more_than_chance_suggests_the_finite_population():
    draw = np.random.default_rng(0)
    found = noise_scale(draw.normal(10, 1, 20), draw.normal(-1, 0.5, 20))
    assert found.value is None
    assert found.low > 0
    assert "population" in found.reason


def test_an_unresolved_trace_leaves_0_as_the_lower_end():
    found = noise_scale(np.array([3.0, -1.0, 0.5]), np.array([1.0, 1.01, 0.99]))
    assert found.low == 0.0
    assert found.high > found.value > 0


def test_opposite_gradients_in_every_measurement_are_not_clamped():
    found = noise_scale(np.full(4, 10.0), np.full(4, -5.0))  # x, -x: |G|^2 is -tr(Sigma)/2 (defect 3 of our notes)
    assert (found.value, found.low, found.high) == (None, None, None)
    assert "not told apart from 0" in found.reason


@pytest.mark.parametrize("count", [0, 1])
def test_one_measurement_has_no_interval(count):
    assert "at least 2" in noise_scale(np.ones(count), np.ones(count)).reason


def wandering(correlation: float, count: int, repeats: int):
    draw = np.random.default_rng(4)
    return [
        wandering_moments(
            2.0 * BATCH,
            batch_size=BATCH,
            dimension=1000,
            measurements=count,
            correlation=correlation,
            spread=0.6,
            generator=draw,
        )
        for _ in range(repeats)
    ]


@pytest.mark.parametrize(("correlation", "count"), [(0.0, 100), (0.5, 100), (0.8, 300), (0.95, 1000)])
def test_blocks_cover_along_moving_parameters(correlation, count):
    found = [noise_scale_along(*series) for series in wandering(correlation, count, 300)]
    assert_covers(covered(found, 2.0 * BATCH), 0.9, 0.97)
    assert open_share(found) < 0.1


@pytest.mark.parametrize(("correlation", "count"), [(0.5, 100), (0.8, 300)])
def test_taking_the_steps_as_independent_would_not_cover(correlation, count):
    found = [noise_scale(*series) for series in wandering(correlation, count, 300)]
    with pytest.raises(AssertionError, match="coverage"):
        assert_covers(covered(found, 2.0 * BATCH), 0.9, 1.0)


def test_a_series_shorter_than_its_memory_is_undetermined():
    found = [noise_scale_along(*series) for series in wandering(0.98, 60, 100)]
    assert np.mean(["measure for longer" in (one.reason or "") for one in found]) > 0.8


def test_the_block_is_named_and_may_be_given():
    series = wandering(0.5, 100, 1)[0]
    assert noise_scale_along(*series, block=4).method.endswith("moving blocks of 4 steps")
    assert "12 steps, got 5" in noise_scale_along(np.ones(5), np.ones(5)).reason


CURVATURE, GRADIENT, DEVIATIONS = np.array([1.0, 3.0, 0.5]), np.array([2.0, -1.0, 1.0]), np.array([1.0, 2.0, 0.5])
SIZE = 4
NORM = float(GRADIENT @ GRADIENT)
BEST = NORM / float((CURVATURE * (GRADIENT**2 + DEVIATIONS**2 / SIZE)).sum())  # one step, T3 of our notes


def steps(share: float, draws: int = 20000):
    return steps_on_a_quadratic(
        CURVATURE,
        gradient=GRADIENT,
        deviations=DEVIATIONS,
        batch_size=SIZE,
        learning_rate=share * BEST,
        draws=draws,
        generator=np.random.default_rng(5),
    )


@pytest.mark.parametrize("share", [0.25, 1.0, 1.7])
def test_consecutive_gradients_align_by_one_minus_the_rate_over_the_best(share):
    before, now = steps(share)
    products = (before * now).sum(1)
    assert abs(products.mean() - NORM * (1 - share)) <= 4 * products.std() / len(products) ** 0.5
    found = lag_one_alignment(products, np.full(len(products), NORM) + np.random.default_rng(6).normal(0, 1, 20000))
    assert found.low <= 1 - share <= found.high
    assert found.high - found.low < 0.2


def test_a_noise_scale_of_consecutive_steps_has_lost_its_denominator():
    torch = pytest.importorskip("torch")
    before, now = (torch.from_numpy(part) for part in steps(1.0, 2000))
    pairs = torch.stack([before, now], 1)
    norms = np.array([float(noise_moments(pair, torch.full((2,), 4.0).double())[1]) for pair in pairs])
    assert_unbiased(norms + NORM, NORM, smallest_bias=0.2)  # its mean is |G|^2 (1 - rate/best rate) = 0
    with pytest.raises(AssertionError, match="ratio"):
        assert_unbiased(norms + NORM, 2 * NORM, smallest_bias=0.2)


def test_an_alignment_without_a_norm_is_missing():
    draw = np.random.default_rng(7)
    assert lag_one_alignment(draw.normal(0, 1, 10), draw.normal(0, 1, 10)).value is None
    assert "at least 2" in lag_one_alignment(np.ones(1), np.ones(1)).reason
