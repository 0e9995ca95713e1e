"""The noise scale along runs: pooled over seeds, averaged over steps."""

import numpy as np
import pytest

from critbatch.judging.noise_scale import NoiseTracks, mean_over_steps, positive_ratio


def test_a_time_average_weighs_looks_by_the_steps_between_them():
    steps = np.array([0.0, 1.0, 10.0, 100.0])
    assert mean_over_steps(steps, steps[None] * 2)[0] == pytest.approx(100)
    assert mean_over_steps(steps, np.array([[7.0, np.nan, 7.0, 7.0]]))[0] == pytest.approx(7)
    assert np.isnan(mean_over_steps(steps, np.array([[7.0, np.nan, np.nan, np.nan]]))[0])


def test_moments_are_averaged_before_they_are_divided():
    traces, norms = np.array([[10.0], [30.0], [20.0]]), np.array([[4.0], [-1.0], [1.0]])
    along = NoiseTracks(np.array([0.0]), traces, norms, np.ones((3, 1)))
    assert along.pooled()[:, 0] == pytest.approx([15.0, np.nan, 6.0, 40 / 3], nan_ok=True)
    assert along.scales[:, 0] == pytest.approx([2.5, np.nan, 20.0], nan_ok=True)


def test_a_ratio_of_what_is_not_above_0_is_not_known():
    found = positive_ratio(np.array([1.0, 1.0, -1.0]), np.array([2.0, 0.0, 2.0]))
    assert found == pytest.approx([0.5, np.nan, np.nan], nan_ok=True)
