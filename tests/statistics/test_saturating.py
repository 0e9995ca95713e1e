"""The saturating law: planted truth, an independent fit, and what it leaves unexplained."""

import numpy as np
import pytest
from scipy.optimize import least_squares

from critbatch.statistics.resampling import replicated, seed_groups
from critbatch.statistics.saturating import saturating, unexplained

SIZES = np.array([1, 4, 16, 64, 256, 1024, 2000.0])
SCARCITY = 1 / SIZES - 1 / 2000


@pytest.mark.parametrize("scale", [0.5, 30.0, 4000.0])
def test_it_finds_what_was_planted(scale):
    fit = saturating(SCARCITY, np.array([[3.0 / (1 + scale * SCARCITY)]]))
    assert float(fit.scale[0, 0]) == pytest.approx(scale, rel=0.01)
    assert float(fit.top[0, 0]) == pytest.approx(3.0, rel=0.01)
    assert float(unexplained(fit)[0]) < 1e-5


def test_it_is_the_least_squares_fit_in_logarithms():
    noise = np.random.default_rng(0).normal(size=7)
    y = 2.0 / (1 + 50 * SCARCITY) * np.exp(0.3 * noise)

    def residuals(x: np.ndarray) -> np.ndarray:
        return np.log(y) - x[0] + np.log1p(np.exp(x[1]) * SCARCITY)

    theirs = least_squares(residuals, [0.0, 3.0])
    fit = saturating(SCARCITY, y[None, None])
    assert float(np.log(fit.scale[0, 0])) == pytest.approx(theirs.x[1], abs=0.01)
    assert float(fit.squares[0, 0]) == pytest.approx(2 * theirs.cost, rel=1e-4)
    assert float(fit.total[0, 0]) == pytest.approx(np.log(y).var() * 7)


def test_points_that_are_not_known_do_not_count_and_too_few_are_no_fit():
    y = 3.0 / (1 + 30 * SCARCITY)
    some, few = y.copy(), y.copy()
    some[[0, 5]], few[2:6] = [np.nan, -1.0], np.nan
    fit = saturating(SCARCITY, np.stack([some, few])[None])
    assert fit.count.tolist() == [[5, 0]]
    assert float(fit.scale[0, 0]) == pytest.approx(30, rel=0.01)
    assert np.isnan(fit.scale[0, 1])
    assert float(unexplained(fit)[0]) < 1e-5, "the curve without a fit is left out"


def test_what_does_not_saturate_is_left_unexplained():
    noise = np.random.default_rng(1).normal(size=(1, 1, 7))
    assert float(unexplained(saturating(SCARCITY, np.exp(noise)))[0]) > 0.5


def test_replicates_are_the_mean_of_all_seeds_and_of_all_but_one():
    values = np.arange(12.0).reshape(3, 2, 2) ** 2
    found = replicated(values)
    assert np.allclose(found[0], values.mean(0))
    assert np.allclose(found[2], values[[0, 2]].mean(0))
    assert len(found) == 4
    assert replicated(values[:1]).shape == (1, 2, 2)
    assert seed_groups(3)[0].rows == slice(1, 4)
    assert seed_groups(1) == ()
