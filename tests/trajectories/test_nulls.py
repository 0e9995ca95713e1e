"""Nulls: what each keeps, what each takes away, and that none of them cries wolf."""

import itertools

import numpy as np
import pytest

from critbatch.trajectories.circulation import area_rates, circulation_strength, principal_coordinates
from critbatch.trajectories.nulls import (
    EquilibriumOU,
    common_phase_surrogate,
    exceeded_share,
    independent_surrogate,
)
from critbatch.trajectories.reversal import time_asymmetries

from .processes import ROOT, TURNING, autoregressive, balanced_drift, stationary_covariance


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_fitted_process_is_the_one_that_made_the_data():
    drift = balanced_drift(ROOT)
    (trajectory,) = autoregressive(drift, ROOT, steps=40_000, draws=1, seed=0)
    fitted = EquilibriumOU.fitted_to(trajectory)
    np.testing.assert_allclose(fitted.persistence, [0.95, 0.6], atol=0.02)  # standard errors 0.002 and 0.004
    covariance = stationary_covariance(drift, ROOT)
    np.testing.assert_allclose(fitted.mixing @ fitted.mixing.T, covariance, rtol=0.2)  # relaxation time 20: 4%


def test_it_has_the_datas_covariance_and_persistence_and_no_current():
    (trajectory,) = autoregressive(TURNING, ROOT, steps=2000, draws=1, seed=1)
    fitted = EquilibriumOU.fitted_to(trajectory)
    middle = trajectory - trajectory.mean(0)
    symmetric = sum(np.outer(a, b) + np.outer(b, a) for a, b in itertools.pairwise(middle)) / 2 / 1999
    model = fitted.mixing @ np.diag(fitted.persistence) @ fitted.mixing.T
    np.testing.assert_allclose(model, symmetric, rtol=1e-10)
    both_ends = (middle[:-1].T @ middle[:-1] + middle[1:].T @ middle[1:]) / 2 / 1999
    np.testing.assert_allclose(fitted.mixing @ fitted.mixing.T, both_ends, rtol=1e-10)
    draws = fitted.simulate(500, draws=200, generator=generator(2))
    assert draws.shape == (200, 500, 2)
    flat = draws.reshape(-1, 2)
    np.testing.assert_allclose(np.cov(flat.T), both_ends, rtol=0.1)  # 200 x 500 / 20: standard error about 1.5%
    rates = np.array([area_rates(one)[0, 1] for one in draws])
    assert abs(rates.mean()) < 4 * rates.std() / 200**0.5
    strengths = np.array([circulation_strength(one) for one in draws])
    assert exceeded_share(circulation_strength(trajectory), strengths) == pytest.approx(1 / 201)


def test_the_fitted_null_does_not_cry_wolf():
    shares = []
    for one in autoregressive(balanced_drift(ROOT), ROOT, steps=150, draws=50, seed=3):
        draws = EquilibriumOU.fitted_to(one).simulate(150, draws=59, generator=generator(4))
        shares.append(exceeded_share(circulation_strength(one), np.array([circulation_strength(x) for x in draws])))
    # 50 data sets: p <= 0.1 in 10% +- 4%
    assert (np.array(shares) <= 0.1).mean() <= 0.22
    assert 0.3 < np.mean(shares) < 0.7


def test_coordinates_that_repeat_each_other_cannot_be_fitted():
    (trajectory,) = autoregressive(TURNING, ROOT, steps=50, draws=1, seed=5)
    with pytest.raises(ValueError, match="3 coordinates over 50 times is singular"):
        EquilibriumOU.fitted_to(np.column_stack([trajectory, trajectory.sum(1)]))


@pytest.mark.parametrize("steps", [400, 401])
def test_independent_surrogates_keep_spectra_and_nearly_distributions_and_lose_the_current(steps):
    (trajectory,) = autoregressive(TURNING, np.eye(2), steps=steps, draws=1, seed=6)
    trajectory = principal_coordinates(np.sinh(trajectory / 3), 2)
    found = np.array([independent_surrogate(trajectory, generator=generator(seed)) for seed in range(30)])
    amplitudes = np.abs(np.fft.rfft(trajectory, axis=0))
    np.testing.assert_allclose(np.abs(np.fft.rfft(found, axis=1)), np.broadcast_to(amplitudes, (30, *amplitudes.shape)),
                               atol=1e-8)  # fmt: skip
    gap = np.abs(np.sort(found, axis=1) - np.sort(trajectory, axis=0)).mean((1, 2)) / trajectory.std()
    assert gap.max() < 0.06
    plain = np.abs(np.sort(gaussian_twin(trajectory), axis=0) - np.sort(trajectory, axis=0)).mean() / trajectory.std()
    assert gap.max() < plain / 2, "a surrogate of random phases alone has another distribution"
    rates = np.array([area_rates(one)[0, 1] for one in found])
    assert abs(rates.mean()) < 4 * rates.std() / 30**0.5
    assert abs(area_rates(trajectory)[0, 1]) > 1.5 * np.abs(rates).max()
    assert not np.allclose(found[0], found[1])


def gaussian_twin(trajectory: np.ndarray) -> np.ndarray:
    """Return random phases alone, from the formula: a sum of cosines."""
    count, times = len(trajectory), np.arange(len(trajectory))
    found = np.zeros(trajectory.shape)
    for coordinate in range(trajectory.shape[1]):
        for wave in range(1, count // 2 + 1):
            turned = (trajectory[:, coordinate] * np.exp(-2j * np.pi * wave * times / count)).sum()
            phase = generator(wave).uniform(0, 2 * np.pi)
            found[:, coordinate] += 2 / count * np.abs(turned) * np.cos(2 * np.pi * wave * times / count + phase)
    return found


@pytest.mark.parametrize("steps", [1000, 1001])
def test_common_phases_keep_the_current_and_lose_the_direction_of_skewed_time(steps):
    (turning,) = autoregressive(TURNING, ROOT, steps=steps, draws=1, seed=7)
    found = [common_phase_surrogate(turning, generator=generator(seed)) for seed in range(20)]
    amplitudes = [np.abs(np.fft.rfft(one, axis=0)) for one in (turning, *found)]
    np.testing.assert_allclose(amplitudes[1:], [amplitudes[0]] * 20, atol=1e-9)
    ends = area_rates(np.vstack([turning, turning[:1]]) - turning.mean(0))[0, 1]  # closed to a loop
    closed = [area_rates(np.vstack([one, one[:1]]) - one.mean(0))[0, 1] for one in found]
    np.testing.assert_allclose(closed, ends, rtol=0.02)  # but for the mean of one time more
    assert not np.allclose(found[0], found[1])
    jumps = generator(8).exponential(size=(steps, 1))
    for step in range(1, steps):
        jumps[step] += 0.8 * jumps[step - 1]
    null = [time_asymmetries(common_phase_surrogate(jumps, generator=generator(seed)), 3)[0] for seed in range(20)]
    assert np.abs(null).max() < time_asymmetries(jumps, 3)[0] / 2


def test_sharp_lines_go_round_in_surrogates_too():
    times = 2 * np.pi * 0.05 * np.arange(400)
    circle = np.stack([np.cos(times), np.sin(times)], 1)
    rates = [area_rates(independent_surrogate(circle, generator=generator(seed)))[0, 1] for seed in range(30)]
    truth = area_rates(circle)[0, 1]
    assert min(rates) < -0.5 * truth < 0.5 * truth < max(rates)


def test_a_share_counts_the_data_among_the_draws():
    assert exceeded_share(2.0, np.array([1.0, 2.0, 3.0])) == 3 / 4
    assert exceeded_share(9.0, np.zeros(99)) == 0.01
