"""Increments: white noise, closed spectra of linear processes, a twin by scipy, bands and intervals."""

import numpy as np
import pytest
from scipy import signal

from critbatch.trajectories.increments import (
    increment_autocorrelation,
    low_frequency_power,
    power_spectrum,
    white_band,
)
from tests.noise.coverage import assert_covers, covered
from tests.problems import assert_unbiased

from .processes import autoregressive


def walks(draws: int, steps: int, seed: int, momentum: float = 0.0) -> np.ndarray:
    """Return random walks whose increments remember: shape (draw, step + 1, 2)."""
    increments = autoregressive(momentum * np.eye(2), np.eye(2), steps=steps, draws=draws, seed=seed)
    return np.concatenate([np.zeros((draws, 1, 2)), increments.cumsum(1)], 1)


def test_the_spectrum_is_welchs():
    (walk,) = walks(1, 1000, 0, momentum=0.5)
    frequencies, powers = power_spectrum(walk, segment=64)
    theirs, density = signal.welch(np.diff(walk, axis=0), window="hann", nperseg=64, axis=0, return_onesided=False)
    np.testing.assert_allclose(frequencies, np.abs(theirs[2:33]), rtol=1e-12)
    np.testing.assert_allclose(powers, density.mean(1)[2:33], rtol=1e-10)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_power_is_the_closed_form_of_remembering_increments(momentum):
    powers = np.array([power_spectrum(one, segment=64)[1] for one in walks(100, 1280, 1, momentum)])
    frequencies = np.arange(2, 33) / 64
    truth = 1 / np.abs(1 - momentum * np.exp(-2j * np.pi * frequencies)) ** 2
    for place in (0, 10, 30):  # the window's leakage is below 1% there
        assert_unbiased(powers[:, place], truth[place], smallest_bias=0.2)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_the_ratio_covers_its_truth_and_is_one_for_white_increments(momentum):
    found = [low_frequency_power(one, below=0.1, segment=64) for one in walks(200, 1500, 2, momentum)]
    frequencies = np.arange(2, 33) / 64
    powers = 1 / np.abs(1 - momentum * np.exp(-2j * np.pi * frequencies)) ** 2
    truth = powers[frequencies < 0.1].mean() / powers.mean()
    assert (truth == 1) == (momentum == 0)
    assert_covers(covered(found, truth), 0.93, 0.97)
    if momentum:
        assert all(one.low > 1 for one in found)


def test_increments_of_a_stationary_process_lack_low_frequencies():
    (process,) = autoregressive(0.9 * np.eye(3), np.eye(3), steps=4000, draws=1, seed=3)
    assert low_frequency_power(process, below=0.02).high < 0.5


def test_autocorrelation_equals_a_loop_and_most_of_white_noise_is_inside_the_band():
    (walk,) = walks(1, 4000, 4)
    found = increment_autocorrelation(walk, 300)
    steps = np.diff(walk[:, 1])
    steps = steps - sum(steps) / len(steps)
    naive = sum(steps[t] * steps[t + 7] for t in range(len(steps) - 7)) / sum(steps**2)
    assert found[6, 1] == pytest.approx(naive, rel=1e-10)
    outside = (np.abs(found) > white_band(4000, level=0.95)).mean()
    assert 0.02 < outside < 0.08  # 600 lags: 5% +- 0.9%
    assert white_band(400) == pytest.approx(2.5758 / 20, rel=1e-4)


def test_autocorrelation_of_increments_of_a_stationary_process_is_negative():
    process = autoregressive(0.5 * np.eye(1), np.eye(1), steps=2000, draws=100, seed=5)
    lag_one = np.array([increment_autocorrelation(one, 1)[0, 0] for one in process])
    # increments of AR(1): correlation -(1 - a)/2 at lag one
    assert_unbiased(lag_one, -(1 - 0.5) / 2, smallest_bias=0.1)


def test_a_coordinate_that_moves_evenly_has_no_autocorrelation():
    walk = np.stack([np.arange(50.0), np.random.default_rng(6).standard_normal(50)], 1)
    assert np.isnan(increment_autocorrelation(walk, 3)[:, 0]).all()
    assert np.isfinite(increment_autocorrelation(walk, 3)[:, 1]).all()


def test_too_few_segments_have_no_interval():
    (walk,) = walks(1, 300, 7)
    assert "4 segments of 64" in low_frequency_power(walk, segment=64).reason
    assert "not told apart from 0" in low_frequency_power(np.ones((700, 2)), segment=64).reason


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda walk: power_spectrum(walk, segment=99), "segments of 99 increments.*has 40"),
        (lambda walk: power_spectrum(walk, segment=3), "at least 4"),
        (lambda walk: low_frequency_power(walk, below=0.1, segment=20), r"from 0.1 to 0.5"),
        (lambda walk: low_frequency_power(walk, below=0.6, segment=20), "some must be below and some not"),
        (lambda walk: increment_autocorrelation(walk, 40), "has 40 increments"),
    ],
)
def test_what_cannot_be_had_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(np.zeros((41, 2)))
