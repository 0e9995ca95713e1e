"""Censored means: right where something is censored, the plain mean where nothing is, and no number out of nothing."""

import numpy as np
import pytest
from scipy import optimize, stats

from critbatch.statistics.tobit import censored_means, inverse_mills


def test_the_mean_beyond_a_point_is_the_normals():
    for z in (-6.0, 0.0, 1.5, 8.0):
        assert inverse_mills(np.array([z]))[0] == pytest.approx(stats.norm.pdf(z) / stats.norm.sf(z), rel=1e-9)


def test_without_censoring_it_is_the_weighted_mean():
    values = np.array([[1.0, 2.0, 6.0], [2.0, np.nan, 4.0]])
    found = censored_means(values, np.zeros((2, 3), bool), np.array([[1.0, 1, 1], [0, 1, 1]]))
    assert found.tolist() == [[3.0, 3.0], [4.0, 4.0]]


def test_it_is_the_maximum_of_the_likelihood():
    draw = np.random.default_rng(0)
    values = draw.normal([[5.0], [5.5]], 0.4, (2, 12))
    censored = values > 5.3
    values = np.where(censored, 5.3, values)

    def less_likely(x: np.ndarray) -> float:  # from the definition, sharing nothing
        middle, spread = x[:2, None], np.exp(x[2])
        seen = stats.norm.logpdf(values, middle, spread)
        beyond = stats.norm.logsf(values, middle, spread)
        return -float(np.where(censored, beyond, seen).sum())

    best = optimize.minimize(
        less_likely, [5.0, 5.0, -1.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}
    )
    found = censored_means(values, censored, np.ones((1, 12)))[0]
    # ours divides the spread by n - rows instead of n, which moves censored means by a little
    assert found == pytest.approx(best.x[:2], abs=0.02)


@pytest.mark.parametrize(("how", "biased"), [("kept", False), ("dropped", True), ("replaced", True)])
def test_dropping_or_replacing_censored_runs_is_biased_and_keeping_them_is_not(how, biased):
    # 400 worlds of 10 runs: standard error 0.006; twice that is the smallest bias this can see
    draw = np.random.default_rng(1)
    found = []
    for _ in range(400):
        values = draw.normal(5.0, 0.4, (1, 10))
        censored = values > 5.3
        values = np.where(censored, 5.3, values)
        if how == "dropped":
            values, censored = np.where(censored, np.nan, values), np.zeros_like(censored)
        elif how == "replaced":
            censored = np.zeros_like(censored)
        found.append(censored_means(values, censored, np.ones((1, 10)))[0, 0])
    assert (abs(np.mean(found) - 5.0) > 4 * np.std(found) / 20) == biased


def test_rows_in_which_nothing_arrived_have_no_mean():
    values = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, np.inf]])
    censored = np.array([[True, True], [False, False], [False, False]])
    assert censored_means(values, censored, np.ones((1, 2)))[0].tolist() == [np.inf, 1.5, np.inf]
