"""Variances of mini-batch gradients against the batch size, on made-up runs."""

import numpy as np
import pytest

from critbatch.claims import registry
from critbatch.judging.reading import arm_grid
from critbatch.judging.update_variance import log_variances, shown
from critbatch.judging.worlds import exhibit_in


def test_variances_lose_the_correction_for_a_finite_training_set():
    grid = arm_grid(exhibit_in(registry()["HOF-4"], "true", 0), "watched")
    octaves = np.log2(shown(grid.facts))
    logs = log_variances(grid, 2000)
    assert logs.shape == (8, 5)
    assert np.polyfit(octaves, logs.T, 1)[0].mean() == pytest.approx(-1, abs=0.02)  # noise of 0.1 in each log variance
    wrong = log_variances(grid, 10**9)
    assert np.polyfit(octaves, wrong.T, 1)[0].mean() < -1.012
