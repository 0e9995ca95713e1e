"""The spectral density: the dense spectrum smoothed alike, moments, coverage of the stated errors, exhausted probes."""

import numpy as np
import pytest
import torch

from critbatch.minima.density import quadrature
from tests.minima.matrices import Dense, draws, turned

BULK = 0.3 * torch.randn(100, generator=draws(4), dtype=torch.float64)
VALUES = torch.cat([BULK, torch.tensor([2.0, 3.0, 5.0], dtype=torch.float64)])
GRID = np.linspace(-2, 6, 161)
WIDTH = 0.2  # the range is 6: 30 steps resolve it


def smoothed(values: np.ndarray) -> np.ndarray:
    """Return the histogram of all eigenvalues with a normal density in place of each."""
    return np.array([
        np.mean([np.exp(-0.5 * ((at - one) / WIDTH) ** 2) / (WIDTH * np.sqrt(2 * np.pi)) for one in values])
        for at in GRID
    ])  # fmt: skip


def test_it_is_the_smoothed_spectrum_within_its_stated_errors():
    # 12 repeats: at each point the mean of 8 probes, whose t quantile for 95% is 2.36
    truth, matrix, generator = smoothed(VALUES.numpy()), Dense(turned(VALUES)), draws(1)
    where = truth > 1e-3
    inside = []
    for _ in range(12):
        found = quadrature(matrix, generator, probes=8, steps=30).density(GRID, width=WIDTH)
        inside.append(np.abs(found.values - truth)[where] <= 2.365 * found.errors[where])
    assert 0.88 <= np.mean(inside) <= 0.99
    many = quadrature(matrix, generator, probes=80, steps=30).density(GRID, width=WIDTH)
    assert np.abs(many.values - truth).max() < 0.04 * truth.max()  # 80 probes: a bias of 4% of the peak would show


def test_its_integral_is_one_and_its_nodes_carry_the_moments():
    found = quadrature(Dense(turned(VALUES)), draws(), probes=60, steps=20)
    np.testing.assert_allclose(found.weights.sum(1), 1, rtol=1e-12)
    density = found.density(np.linspace(-4, 8, 2001), width=WIDTH)
    assert np.trapezoid(density.values, density.grid) == pytest.approx(1, rel=1e-6)
    for power in (1, 2, 3):
        each = (found.nodes**power * found.weights).sum(1)
        truth = float((VALUES**power).mean())
        assert abs(each.mean() - truth) < 4 * each.std(ddof=1) / 60**0.5


def test_the_quadrature_of_a_probe_is_exact_for_polynomials():
    matrix = turned(VALUES)
    found = quadrature(Dense(matrix), draws(9), probes=2, steps=6)
    probe = 2 * torch.randint(2, (len(VALUES),), generator=draws(9), dtype=torch.float64) - 1
    for power in range(12):
        truth = float(probe @ torch.linalg.matrix_power(matrix, power) @ probe) / len(VALUES)
        assert float(found.weights[0] @ found.nodes[0] ** power) == pytest.approx(truth, rel=1e-9)


def test_a_spectrum_of_few_values_needs_few_steps():
    matrix = Dense(turned(torch.cat([torch.full((30,), 2.0), torch.zeros(10)])))
    found = quadrature(matrix, draws(), probes=5, steps=30)
    assert matrix.products == 10
    assert (found.weights[:, 2:] == 0).all()
    np.testing.assert_allclose(np.sort(found.nodes[:, :2], axis=1), [[0, 2]] * 5, atol=1e-12)
    null = quadrature(Dense(torch.zeros(7, 7)), draws())
    assert (null.nodes == 0).all()
    assert null.weights.sum() == 10


def test_what_cannot_be_estimated_is_refused():
    matrix = Dense(turned(VALUES))
    for bad in ({"probes": 1}, {"steps": 0}):
        with pytest.raises(ValueError, match="at least 2 probes and 1 step"):
            quadrature(matrix, draws(), **bad)
    with pytest.raises(ValueError, match="must be above 0"):
        quadrature(matrix, draws(), probes=2, steps=3).density(GRID, width=0.0)
    with pytest.raises(ValueError, match="product 1 of probe 0 is not finite"):
        quadrature(Dense(turned(VALUES) * torch.inf), draws())
