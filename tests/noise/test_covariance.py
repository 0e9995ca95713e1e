"""Covariance of gradient noise: planted spectra, a dense twin, exact expectations, and what cannot be had."""

import numpy as np
import pytest
import torch
from torch import Tensor

from critbatch.derivatives import group_gradients
from critbatch.noise.covariance import (
    covariance_spectrum,
    curvature_alignment,
    effective_rank,
    isotropic_participation_ratios,
    leading_directions,
    noise_curvature,
    numerical_rank,
    participation_ratio,
    spectral_distance,
    subspace_overlap,
)
from critbatch.objective import cross_entropy
from tests.problems import MODELS, assert_unbiased, blobs

SHAPES = [(12, 30), (30, 12), (20, 20)]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def planted(eigenvalues: list[float], count: int, size: int) -> Tensor:
    """Return gradients whose covariance (divisor n) has exactly these eigenvalues, around a mean of 5."""
    k = len(eigenvalues)
    scores = drawn(count, k, seed=1)
    scores = torch.linalg.qr(scores - scores.mean(0)).Q  # columns orthonormal, and orthogonal to the ones
    axes = torch.linalg.qr(drawn(size, k, seed=2)).Q
    return 5 + scores * (count * torch.tensor(eigenvalues, dtype=torch.float64)).sqrt() @ axes.T


def dense(gradients: Tensor) -> np.ndarray:
    """Return D from its definition, example by example."""
    size = gradients.shape[1]
    second, mean = np.zeros((size, size)), np.zeros(size)
    for gradient in gradients.numpy():
        second += np.outer(gradient, gradient) / len(gradients)
        mean += gradient / len(gradients)
    return second - np.outer(mean, mean)


@pytest.mark.parametrize(("count", "size"), SHAPES)
def test_the_spectrum_is_that_of_the_dense_matrix(count, size):
    gradients = drawn(count, size)
    truth = np.linalg.eigvals(dense(gradients)).real
    truth = np.sort(truth)[::-1][: min(count, size)]
    np.testing.assert_allclose(covariance_spectrum(gradients), truth, rtol=0, atol=1e-12 * truth[0])


def test_the_trace_of_a_models_gradients_is_their_variance():
    inputs, targets = blobs(40, 0)
    gradients = group_gradients(MODELS["mlp"](), cross_entropy, inputs, targets, size=1)
    spectrum = covariance_spectrum(gradients)
    assert spectrum.dtype == torch.float64
    assert float(spectrum.sum()) == pytest.approx(float(gradients.double().var(0, correction=0).sum()), rel=1e-12)


@pytest.mark.parametrize(("count", "size"), SHAPES)
def test_planted_eigenvalues_and_ranks_are_found(count, size):
    eigenvalues = [4.0, 1.0, 1.0, 1e-9, 1e-10]  # two of them beyond single precision
    spectrum = covariance_spectrum(planted(eigenvalues, count, size))
    np.testing.assert_allclose(spectrum[:5], eigenvalues, rtol=0, atol=1e-13)  # rounding of the mean of 5, squared
    ranks = [numerical_rank(spectrum, size=max(count, size), dtype=dtype) for dtype in (torch.float32, torch.float64)]
    assert ranks == [3, 5]


def test_a_rank_is_counted_from_the_threshold_up():
    eps = torch.finfo(torch.float32).eps
    spectrum = torch.tensor([2.0, 2 * 10 * eps * 1.01, 2 * 10 * eps * 0.99], dtype=torch.float64)
    assert numerical_rank(spectrum, size=10, dtype=torch.float32) == 2
    assert numerical_rank(spectrum, size=11, dtype=torch.float32) == 1
    assert numerical_rank(spectrum, size=10, dtype=torch.float64) == 3
    assert numerical_rank(torch.zeros(4, dtype=torch.float64), size=10, dtype=torch.float64) == 0


@pytest.mark.parametrize(
    ("spectrum", "ratio", "rank"),
    [((3.0, 3.0, 3.0, 0.0), 3.0, 3.0), ((2.0, 1.0, 1.0), 16 / 6, 2**1.5), ((7.0, 0.0), 1.0, 1.0)],
)
def test_known_numbers_of_directions(spectrum, ratio, rank):
    values = torch.tensor(spectrum, dtype=torch.float64)
    for scale in (1.0, 1e-9):
        assert participation_ratio(scale * values) == pytest.approx(ratio, rel=1e-12)
        assert effective_rank(scale * values) == pytest.approx(rank, rel=1e-12)  # 1/2 log 2 + 2 x 1/4 log 4


def test_no_noise_has_no_number_of_directions():
    spectrum = covariance_spectrum(torch.ones(4, 3))
    assert np.isnan([participation_ratio(spectrum), effective_rank(spectrum)]).all()


@pytest.mark.parametrize(("examples", "parameters"), [(9, 30), (31, 8), (6, 5), (2, 4)])
def test_the_isotropic_null_is_that_of_drawn_gradients(examples, parameters):
    ratios = isotropic_participation_ratios(examples, parameters, draws=4000, generator=np.random.default_rng(0))
    noise = np.random.default_rng(1).standard_normal((4000, examples, parameters))
    noise -= noise.mean(1, keepdims=True)
    matrices = noise.transpose(0, 2, 1) @ noise
    naive = np.trace(matrices, axis1=1, axis2=2) ** 2 / (matrices**2).sum((1, 2))
    if examples == 2:
        np.testing.assert_allclose(ratios, 1, rtol=1e-12)
        return
    # forgetting that the mean is taken off makes 10% in two of these cases
    assert_unbiased(1 + (ratios - naive) / naive.mean(), 1.0, smallest_bias=0.04)
    # standard error of a 1% quantile of 4,000 draws: about 4% of the spread
    assert np.quantile(ratios, 0.01) == pytest.approx(np.quantile(naive, 0.01), abs=0.25 * naive.std())


def test_few_strong_directions_in_weak_noise_are_below_the_null_and_isotropic_noise_is_not():
    count, size = 100, 300
    null = isotropic_participation_ratios(count, size, draws=1000, generator=np.random.default_rng(2))
    strong = 3 * drawn(count, 4, seed=3) @ drawn(4, size, seed=4)
    low = np.quantile(null, 0.01)
    found = [participation_ratio(covariance_spectrum(one + drawn(count, size, seed=5))) for one in (strong, 0 * strong)]
    assert found[0] < 5 < low < found[1]
    assert null.min() < found[1] < null.max()


@pytest.mark.parametrize(("count", "size"), SHAPES)
def test_leading_directions_are_eigenvectors(count, size):
    gradients = planted([9.0, 4.0, 1.0, 0.25], count, size)
    values, vectors = leading_directions(gradients, 3)
    np.testing.assert_allclose(values, [9, 4, 1], rtol=1e-12)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-13)
    np.testing.assert_allclose(dense(gradients) @ vectors.numpy(), (vectors * values).numpy(), atol=1e-11)


@pytest.mark.parametrize(("count", "size"), SHAPES)
def test_noise_along_the_curvature_equals_dense_traces(count, size):
    gradients, hessian = drawn(count, size, seed=6), drawn(size, size, seed=7)
    hessian = hessian + hessian.T
    covariance, calls = dense(gradients), []

    def product(vector: Tensor) -> Tensor:
        calls.append(1)
        return hessian @ vector

    truth = np.trace(hessian.numpy() @ covariance)
    assert noise_curvature(gradients, product) == pytest.approx(truth, rel=1e-11)
    assert len(calls) == min(count, size)
    trace = float(hessian.trace())
    ours = curvature_alignment(gradients, product, hessian_trace=trace)
    assert ours == pytest.approx(truth * size / (trace * np.trace(covariance)), rel=1e-11)
    assert curvature_alignment(gradients, lambda vector: 3 * vector, hessian_trace=3.0 * size) == pytest.approx(1)


def test_noise_along_the_only_sharp_direction_has_alignment_d():
    gradients = torch.zeros(8, 6, dtype=torch.float64)
    gradients[:, 2] = drawn(8, seed=8)
    sharp = torch.eye(6, dtype=torch.float64)[2]
    assert curvature_alignment(gradients, lambda vector: sharp * vector, hessian_trace=1.0) == pytest.approx(6)


def test_random_subspaces_overlap_by_their_share_of_the_space():
    fixed = torch.eye(10, 3, dtype=torch.float64)
    axes = [torch.linalg.qr(drawn(10, 3, seed=seed)).Q for seed in range(400)]
    overlaps = np.array([subspace_overlap(fixed, one) for one in axes])
    assert_unbiased(overlaps, 3 / 10, smallest_bias=0.2)
    assert subspace_overlap(fixed, fixed.flip(1)) == 1
    assert subspace_overlap(fixed, torch.eye(10, dtype=torch.float64)[:, 3:6]) == 0
    turned = torch.eye(10, 3, dtype=torch.float64)
    turned[[0, 5], 0] = torch.tensor([0.6, 0.8], dtype=torch.float64)
    assert subspace_overlap(fixed, turned) == pytest.approx((0.36 + 1 + 1) / 3, rel=1e-12)


def test_spectral_distance_is_kolmogorovs_and_does_not_see_logarithms():
    one, two = drawn(40, seed=9).exp(), 2 * drawn(25, seed=10).exp()
    naive = max(abs(float((one <= x).double().mean() - (two <= x).double().mean())) for x in [*one, *two])
    assert spectral_distance(one, two) == pytest.approx(naive, rel=1e-12)
    assert spectral_distance(one.log(), two.log()) == spectral_distance(one, two)
    assert spectral_distance(one, one.flip(0)) == 0
    assert spectral_distance(one, one + 100) == 1


@pytest.mark.parametrize("bad", [torch.ones(1, 3), torch.tensor([[1.0, 2.0], [torch.nan, 0.0]])])
def test_gradients_without_a_covariance_are_refused(bad):
    with pytest.raises(ValueError, match="at least 2 of them, all finite"):
        covariance_spectrum(bad)


@pytest.mark.parametrize("count", [0, 3])
def test_directions_that_are_not_there_are_refused(count):
    with pytest.raises(ValueError, match=rf"count={count}.*vary in 2 directions"):
        leading_directions(planted([2.0, 1.0], 8, 20), count)


@pytest.mark.parametrize("bad", [(1, 3, 5), (3, 0, 5), (3, 3, 0)])
def test_a_null_of_nothing_is_refused(bad):
    examples, parameters, draws = bad
    with pytest.raises(ValueError, match="at least 2 examples, 1 parameter and 1 draw"):
        isotropic_participation_ratios(examples, parameters, draws=draws, generator=np.random.default_rng(0))
