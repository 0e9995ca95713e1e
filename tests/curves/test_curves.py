"""Every curve recovers itself, and what is particular to each."""

import numpy as np
import pytest
from scipy.optimize import minimize

from critbatch import catalog
from critbatch.curves.broken_stick import BrokenStick
from critbatch.curves.generalised_hyperbola import GeneralisedHyperbola
from critbatch.curves.hyperbola import Hyperbola
from critbatch.curves.power_law import PowerLaw

SIZES = np.array([1.0, 4, 16, 64, 256, 1024])
CASES = [
    (Hyperbola(), [20.0, 2000.0]),
    (GeneralisedHyperbola(), [20.0, 2000.0, 2.5]),
    (GeneralisedHyperbola(), [20.0, 2000.0, 0.7]),
    (PowerLaw(), [3000.0, -0.6]),
    (BrokenStick(), [20.0, 2000.0]),
]


def test_every_curve_is_tested_here():
    assert {type(curve).__module__.rpartition(".")[2] for curve, _ in CASES} == set(catalog.names("curves"))


@pytest.mark.parametrize(("curve", "truth"), CASES, ids=lambda value: type(value).__name__)
def test_a_curve_recovers_its_own_coefficients(curve, truth):
    coefficients = np.array([truth])
    steps = curve.steps(SIZES, coefficients)
    assert steps.shape == (1, 6)
    assert curve.fit(SIZES, steps)[0] == pytest.approx(truth, rel=1e-4)
    assert len(curve.names) == len(truth)


@pytest.mark.parametrize(
    "curve", [PowerLaw(), BrokenStick(), GeneralisedHyperbola()], ids=lambda curve: type(curve).__name__
)
def test_a_fit_is_the_least_squares_one_in_logarithms(curve):
    draw = np.random.default_rng(0)
    steps = np.exp(np.log(20 + 2000 / SIZES) + draw.normal(0, 0.2, 6))
    found = curve.fit(SIZES, steps[None])

    def wrong(x):
        with np.errstate(all="ignore"):
            value = float(np.sum((np.log(curve.steps(SIZES, x[None])[0]) - np.log(steps)) ** 2))
        return value if np.isfinite(value) else 1e9

    again = minimize(
        wrong, found[0] * 1.03, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-9, "fatol": 1e-12}
    )
    assert wrong(found[0]) <= again.fun + 1e-6


def test_with_sharpness_one_the_generalised_hyperbola_is_the_hyperbola():
    general = GeneralisedHyperbola().steps(SIZES, np.array([[20.0, 2000.0, 1.0]]))
    assert general == pytest.approx(Hyperbola().steps(SIZES, np.array([[20.0, 2000.0]])), rel=1e-12)
