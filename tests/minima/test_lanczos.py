"""Eigenvalues at the ends: dense truth, equal and missing ones, a start that sees nothing, ghost copies, what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.minima.lanczos import Krylov, lanczos
from critbatch.minima.surface import Surface
from critbatch.objective import cross_entropy
from tests.minima.matrices import Dense, dense_hessian, draws, turned
from tests.problems import blobs


def spectrum(size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, generator=draws(seed), dtype=torch.float64)


@pytest.mark.parametrize("end", ["largest", "smallest"])
@pytest.mark.parametrize("count", [1, 4])
def test_outer_eigenvalues_are_those_of_the_dense_matrix(end, count):
    truth, matrix = spectrum(200), turned(spectrum(200))
    found = lanczos(Dense(matrix), draws(1), count=count, end=end, steps=150, tolerance=1e-6)
    ordered = truth.sort(descending=end == "largest").values[:count].numpy()
    assert found.converged
    assert found.products < 150
    np.testing.assert_allclose(found.values, ordered, rtol=1e-10)  # the square of the residual, over a gap
    away = matrix @ found.vectors - found.vectors * torch.from_numpy(found.values)
    np.testing.assert_allclose(away.norm(dim=0).numpy(), found.residuals, atol=1e-12)
    np.testing.assert_allclose((found.vectors.T @ found.vectors).numpy(), np.eye(count), atol=1e-12)


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_of_a_network_it_is_the_largest_eigenvalue_of_the_dense_hessian(dtype, within):
    inputs, targets = blobs(60, 0, dtype)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.Linear(12, 3)).to(dtype)
    truth = torch.linalg.eigvalsh(dense_hessian(model.double(), cross_entropy, inputs.double(), targets))
    hessian = Surface(model.to(dtype), cross_entropy, inputs, targets).hessian()
    found = lanczos(hessian, draws(), count=2, tolerance=1e-5)
    np.testing.assert_allclose(found.values, truth.flip(0)[:2].numpy(), rtol=within)
    assert found.products == hessian.products < 60
    least = lanczos(hessian, draws(), end="smallest", tolerance=1e-5)
    np.testing.assert_allclose(least.values, truth[:1].numpy(), rtol=10 * within)


def test_the_largest_is_not_the_largest_in_size():
    matrix = Dense(torch.diag(torch.tensor([1.0, -3.0], dtype=torch.float64)))
    assert lanczos(matrix, draws()).values == pytest.approx([1])
    assert lanczos(matrix, draws(), end="smallest").values == pytest.approx([-3])


def test_eigenvalues_that_have_converged_do_not_come_again():
    values = torch.tensor([0.570, 0.373, 0.316, *np.geomspace(0.1, 1e-6, 197)], dtype=torch.float64)
    for dtype, within in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        space = Krylov(Dense(turned(values).to(dtype)), torch.randn(200, generator=draws()), 120)
        for _ in range(120):
            space.grow()
        near, _, _ = space.pairs(116, 119)
        assert near[::-1][:3] == pytest.approx(values[:3].numpy(), rel=1e-5)
        assert near[0] < 0.11, "no copy of a larger one"
        assert float((space.basis @ space.basis.T - torch.eye(120)).abs().max()) < within


def test_without_orthogonalisation_they_do_come_again():
    values = torch.tensor([0.570, 0.373, 0.316, *np.geomspace(0.1, 1e-6, 197)], dtype=torch.float64)
    matrix, vector, last = turned(values), torch.randn(200, generator=draws(), dtype=torch.float64), torch.zeros(200)
    diagonal, beside, vector, length = [], [], vector / vector.norm(), 0.0
    for _ in range(120):
        rest = matrix @ vector - length * last
        diagonal.append(float(vector @ rest))
        rest = rest - diagonal[-1] * vector
        length, last = float(rest.norm()), vector
        beside.append(length)
        vector = rest / length
    naive = np.linalg.eigvalsh(np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1))
    assert (np.abs(naive - 0.570) < 1e-8).sum() > 1


@pytest.mark.parametrize("values", [[3, 3, 1, 1], [3, 3, 3, 1], [0, 0, 0], [2, 2, 2, 2, 2, -1], [5]])
def test_equal_eigenvalues_are_counted_where_the_products_span_no_more(values):
    truth = np.sort(values)[::-1]
    matrix = turned(torch.tensor(values))
    for count in range(1, len(values) + 1):
        found = lanczos(Dense(matrix), draws(count), count=count)
        np.testing.assert_allclose(found.values, truth[:count], atol=1e-12)
        assert found.converged
        assert found.products <= len(values)


def test_a_start_in_an_invariant_subspace_does_not_hide_the_rest():
    values = torch.cat([torch.tensor([9.0, 4.0]), torch.zeros(98)])
    matrix = turned(values)
    start = matrix @ turned(values.flip(0))[:, 0] * 0 + torch.linalg.eigh(matrix).eigenvectors[:, -2]  # of 4
    found = lanczos(Dense(matrix), draws(), start=start)
    assert found.values == pytest.approx([9])
    assert found.products < 10


def test_a_matrix_of_low_rank_needs_few_products():
    values = torch.cat([torch.arange(1.0, 6.0), torch.zeros(195)])
    for dtype, within in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        found = lanczos(Dense(turned(values).to(dtype)), draws(), count=3, tolerance=0)
        np.testing.assert_allclose(found.values, [5, 4, 3], rtol=within)
        assert found.products < 20


def test_no_tolerance_takes_all_the_steps_and_says_that_it_has_not_converged():
    matrix = Dense(turned(spectrum(300)))
    found = lanczos(matrix, draws(), steps=20, tolerance=0)
    assert found.products == matrix.products == 20
    assert not found.converged
    assert found.values[0] < float(spectrum(300).max())
    start = torch.randn(300, generator=draws(5), dtype=torch.float64)
    again = [lanczos(matrix, draws(seed), steps=20, start=factor * start) for seed, factor in ((0, 1.0), (1, 7.0))]
    assert again[0].values == pytest.approx(again[1].values, rel=1e-12)


def test_a_product_that_is_not_finite_is_a_value_not_an_exception():
    found = lanczos(Dense(turned(spectrum(9)) * torch.nan), draws(), count=2)
    assert np.isnan(found.values).all()
    assert found.vectors.shape == (9, 2)
    assert not found.converged


@pytest.mark.parametrize("bad", [{"count": 0}, {"count": 6}, {"count": 3, "steps": 2}])
def test_more_eigenvalues_than_there_are_is_refused(bad):
    with pytest.raises(ValueError, match="eigenvalues"):
        lanczos(Dense(turned(spectrum(5))), draws(), **bad)


@pytest.mark.parametrize("start", [torch.zeros(5), torch.ones(4)])
def test_a_start_that_is_none_is_refused(start):
    with pytest.raises(ValueError, match="give 5 numbers, not all 0"):
        lanczos(Dense(turned(spectrum(5))), draws(), start=start)
