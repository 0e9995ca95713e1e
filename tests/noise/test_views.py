"""The views: identities between them, and gradients drawn where no formula of ours is used."""

import numpy as np
import pytest

from critbatch.estimate import Estimate
from critbatch.noise import (
    adascale_gain,
    best_learning_rate,
    cabs_batch_size,
    gradient_diversity,
    half_batch_cosine,
    inner_product_test_batch_size,
    noise_scale,
    norm_test_batch_size,
    one_step_improvement,
    pollux_efficiency,
)
from critbatch.worlds.gradients import gaussian_gradients

MEAN, DEVIATIONS = np.array([1.0, -0.5, 0.25, 0.0]), np.array([2.0, 1.0, 0.5, 3.0])
NORM, TRACE = float(MEAN @ MEAN), float(DEVIATIONS @ DEVIATIONS)
PHI = TRACE / NORM
DRAWS = 40000


def known(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(value, low, high, 0.95, 9, "examples", "made up", "made up")


def batches(*sizes: int) -> np.ndarray:
    """Return mean gradients of batches, shape (draw, batch, parameter)."""
    draw = np.random.default_rng(0)
    return gaussian_gradients(
        MEAN, deviations=DEVIATIONS, sizes=np.array(sizes, dtype=float), draws=DRAWS, generator=draw
    )


def squares(vectors: np.ndarray) -> np.ndarray:
    return (vectors**2).sum(-1)


@pytest.mark.parametrize("phi", [0.3, 7.0, 4e4])
def test_adascale_over_its_count_is_pollux(phi):
    gain = adascale_gain(known(phi), batch_size=8, count=16).value
    assert gain / 16 == pytest.approx(pollux_efficiency(known(phi), batch_size=128, reference=8).value, rel=1e-12)
    assert gain / 16 == pytest.approx((phi + 8) / (phi + 128), rel=1e-12)
    assert 1 <= gain <= 16


def test_the_gain_is_the_ratio_of_expected_squared_norms():
    small, large = squares(batches(4, 64)).mean(0)
    found = adascale_gain(known(PHI), batch_size=4, count=16).value
    assert found == pytest.approx(small / large, rel=0.03)  # 40,000 draws: 0.6% a standard error


def test_at_the_norm_tests_batch_size_the_noise_is_the_tolerance():
    size = norm_test_batch_size(known(PHI), tolerance=0.5).value
    noise = squares(batches(1)[:, 0] - MEAN).mean() / size
    assert noise / NORM == pytest.approx(0.25, rel=0.03)
    assert norm_test_batch_size(known(0.0), tolerance=0.5).value == 0


def test_in_a_finite_population_the_norm_test_never_asks_for_more_than_there_is():
    for phi in (1.0, 1e3, 1e9):
        size = norm_test_batch_size(known(phi), tolerance=0.5, population=100).value
        assert phi * (1 / size - 1 / 100) == pytest.approx(0.25, rel=1e-6, abs=1e-9 * phi)
        assert size <= 100


def test_the_inner_product_test_is_the_spread_of_inner_products_and_weaker():
    along = float((DEVIATIONS**2 * MEAN**2).sum())
    size = inner_product_test_batch_size(along, NORM, tolerance=0.5).value
    products = batches(1)[:, 0] @ MEAN
    assert products.var() / size / NORM**2 == pytest.approx(0.25, rel=0.03)
    assert size < norm_test_batch_size(known(PHI), tolerance=0.5).value
    assert "not above 0" in inner_product_test_batch_size(1.0, -0.1, tolerance=0.5).reason


def test_the_cosine_is_that_of_two_halves():
    first, second = np.moveaxis(batches(16, 16), 1, 0)
    cosine = (first * second).sum(1).mean() / (squares(first).mean() * squares(second).mean()) ** 0.5
    assert half_batch_cosine(known(PHI), batch_size=32).value == pytest.approx(cosine, rel=0.03)


def test_the_diversity_of_a_training_set_is_exact():
    everyone = np.random.default_rng(1).standard_normal((30, 5)) + 0.3
    centred = everyone - everyone.mean(0)
    phi = squares(centred).sum() / 29 / squares(everyone.mean(0))
    by_hand = 30 * squares(everyone).sum() / squares(everyone.sum(0))
    assert gradient_diversity(known(float(phi)), population=30).value == pytest.approx(by_hand, rel=1e-12)
    assert gradient_diversity(known(7.0)).value == 8


def test_cabs_is_the_rate_times_the_variance_over_the_loss():
    draw = np.random.default_rng(2)
    found = cabs_batch_size(draw.normal(TRACE, 1.0, 50), learning_rate=0.1, loss=0.5)
    assert found.low <= 0.1 * TRACE / 0.5 <= found.high
    assert "above 0" in cabs_batch_size(np.ones(3), learning_rate=0.1, loss=0.0).reason


CURVATURE = np.array([1.0, 3.0, 0.5, 0.2])
BENT = float((CURVATURE * MEAN**2).sum())


def falls(gradients: np.ndarray, rate: float) -> np.ndarray:
    """Return how far the quadratic loss falls in one step along each gradient."""
    return rate * gradients @ MEAN - 0.5 * rate**2 * (CURVATURE * gradients**2).sum(1)


def test_no_other_rate_lowers_the_loss_of_a_quadratic_more():
    scale = known(float((CURVATURE * DEVIATIONS**2).sum()) / BENT)
    best = best_learning_rate(scale, largest=NORM / BENT, batch_size=8).value
    gradients = batches(8)[:, 0]
    rates = best * np.array([0.8, 0.9, 1.0, 1.1, 1.2])
    expected = [falls(gradients, rate).mean() for rate in rates]
    assert int(np.argmax(expected)) == 2
    improvement = one_step_improvement(scale, largest=NORM**2 / BENT / 2, batch_size=8).value
    assert expected[2] == pytest.approx(improvement, rel=0.05)  # 1.2% a standard error


def test_the_whole_training_set_has_no_noise():
    assert best_learning_rate(known(50.0), largest=0.7, batch_size=100, population=100).value == pytest.approx(0.7)
    open_ended = Estimate.missing("unknown", unit="examples", definition="made up", low=5.0)
    found = best_learning_rate(open_ended, largest=0.7, batch_size=100, population=100)
    assert (found.low, found.high) == (0.7, 0.7)


VIEWS = {
    "norm test": (lambda scale: norm_test_batch_size(scale, tolerance=0.5), None),
    "norm test of a set": (lambda scale: norm_test_batch_size(scale, tolerance=0.5, population=100), 100.0),
    "adascale": (lambda scale: adascale_gain(scale, batch_size=4, count=8), 8.0),
    "pollux up": (lambda scale: pollux_efficiency(scale, batch_size=64, reference=8), 1.0),
    "pollux down": (lambda scale: pollux_efficiency(scale, batch_size=4, reference=8), 1.0),
    "cosine": (lambda scale: half_batch_cosine(scale, batch_size=8), 0.0),
    "diversity": (gradient_diversity, None),
    "rate": (lambda scale: best_learning_rate(scale, largest=1.0, batch_size=8), 0.0),
}


@pytest.mark.parametrize(("view", "limit"), VIEWS.values(), ids=VIEWS)
def test_ends_are_mapped_and_stay_in_order(view, limit):
    found = view(known(10.0, 5.0, 20.0))
    ends = sorted([view(known(5.0)).value, view(known(20.0)).value])
    assert [found.low, found.high] == ends
    assert found.low <= found.value <= found.high
    far = view(known(1e12)).value
    assert far == pytest.approx(limit, abs=1e-6) if limit is not None else far > 1e9


@pytest.mark.parametrize(("view", "limit"), VIEWS.values(), ids=VIEWS)
def test_a_bound_on_the_scale_is_a_bound_on_the_view(view, limit):
    undetermined = noise_scale(np.array([9.0, 10.0, 11.0]), np.array([-0.1, 0.4, -0.2]))
    assert undetermined.low is not None
    found = view(undetermined)
    assert found.value is None
    assert "not told apart from 0" in found.reason
    bound = view(known(undetermined.low)).value
    if limit is None:
        assert (found.low, found.high) == (bound, None)
    else:
        assert [found.low, found.high] == sorted([bound, limit])
        assert f"an infinite one would give {limit:g}" in found.reason


@pytest.mark.parametrize(("view", "limit"), VIEWS.values(), ids=VIEWS)
def test_where_nothing_is_known_nothing_is_said(view, limit):
    found = view(noise_scale(np.ones(1), np.ones(1)))
    assert (found.value, found.low, found.high) == (None, None, None)
    assert (view(known(10.0)).low, view(known(10.0)).high) == (None, None)
