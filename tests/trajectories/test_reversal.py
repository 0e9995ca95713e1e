"""Time-reversal asymmetry: the closed form of a skewed autoregression, coverage, a twin by loops, what it cannot see."""

import numpy as np
import pytest

from critbatch.trajectories.reversal import time_asymmetries, time_asymmetry_estimates
from tests.noise.coverage import assert_covers, covered
from tests.problems import assert_unbiased

from .processes import TURNING, autoregressive

PERSISTENCE, LAG, STEPS, DRAWS = 0.6, 2, 1500, 200


def skewed(seed: int) -> np.ndarray:
    """Return x(t+1) = a x(t) + e with exponential e, shape (draw, step, 1): jumps up, slow decays."""
    noise = np.random.default_rng(seed).exponential(size=(STEPS + 50, DRAWS, 1))
    for step in range(1, len(noise)):
        noise[step] += PERSISTENCE * noise[step - 1]
    return noise[50:].transpose(1, 0, 2)


def test_intervals_hold_the_closed_form_of_a_skewed_process():
    # third cumulant 2/(1 - a^3), variance 1/(1 - a^2); E x(t)^2 x(t+k) = a^k k3, E x(t) x(t+k)^2 = a^2k k3
    a, k = PERSISTENCE, LAG
    truth = (a**k - a ** (2 * k)) * 2 / (1 - a**3) * (1 - a**2) ** 1.5
    found = [time_asymmetry_estimates(one, LAG)[0] for one in skewed(0)]
    hits = covered(found, truth)
    assert hits.mean() >= 0.9
    assert_covers(hits, 0.9, 0.97)  # skewed: a little less than 0.95 at this length
    assert_unbiased(np.array([one.value for one in found]), truth, smallest_bias=0.15)
    backwards = [time_asymmetries(one[::-1], LAG)[0] for one in skewed(0)]
    np.testing.assert_allclose(backwards, [-one.value for one in found], rtol=1e-9)


def test_no_coordinate_of_a_gaussian_current_is_irreversible():
    found = [one for walk in autoregressive(TURNING, np.eye(2), steps=1000, draws=80, seed=1)
             for one in time_asymmetry_estimates(walk, 5)]  # fmt: skip
    assert_covers(covered(found, 0.0), 0.93, 0.97)


def test_it_is_a_mean_over_times_and_has_no_unit():
    (walk,) = skewed(2)[:1]
    mean, deviation = walk.mean(), walk.std()
    scaled = [(float(one) - mean) / deviation for one in walk[:, 0]]
    pairs = list(zip(scaled[:-LAG], scaled[LAG:], strict=True))
    naive = sum(x * x * y - x * y * y for x, y in pairs) / len(pairs)
    assert time_asymmetries(walk, LAG)[0] == pytest.approx(naive, rel=1e-9)
    assert time_asymmetries(5 - 3 * walk, LAG)[0] == pytest.approx(-naive, rel=1e-9)


def test_what_does_not_move_has_no_value():
    moving, still = time_asymmetry_estimates(
        np.stack([np.random.default_rng(3).standard_normal(50), np.ones(50)], 1), 1
    )
    assert moving.value is not None
    assert "does not move" in still.reason


@pytest.mark.parametrize("lag", [0, 20])
def test_a_lag_that_does_not_fit_is_refused(lag):
    with pytest.raises(ValueError, match=rf"lag {lag} .*got \(20, 2\)"):
        time_asymmetries(np.zeros((20, 2)), lag)
