"""Batch sharpness: dense g'Hg, all subsets of a small set, additive noise, coverage; a second pass that is exact."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.minima.batches import BatchCurvatures, batch_curvatures
from critbatch.minima.surface import Surface
from critbatch.objective import cross_entropy, squared_error
from tests.minima.matrices import dense_hessian
from tests.minima.surfaces import NETWORKS, curved, network_surface, quadratic, trained_surface
from tests.problems import assert_unbiased

CURVATURES = np.array([0.5, 1.0, 2.0, 4.0, 9.0])
PAIRS = np.array([np.mean(pair) for pair in itertools.combinations(CURVATURES, 2)])
TRUE_CUBES, TRUE_SQUARES = (PAIRS**3).mean(), (PAIRS**2).mean()


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scalar_surface(weight: float = 0.7) -> Surface:
    """Return losses a_i w^2 / 2 of one parameter."""
    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight[:] = weight
    inputs = torch.from_numpy(CURVATURES).sqrt()[:, None]
    return Surface(model, squared_error, inputs, torch.zeros_like(inputs))


@pytest.mark.parametrize("options", [{}, {"l2": 0.3}, {"normalisation": "batch"}])
@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_the_dense_product_of_each_batch(name, options):
    surface = network_surface(name, **options)
    found = batch_curvatures(surface, batch_size=8, batches=1, generator=draws(5))
    order = draws(5)
    for curvature, squared_norm in zip(found.curvature, found.squared_norm, strict=True):
        some = torch.randperm(24, generator=order)[:8]
        batch = surface.inputs[some], surface.targets[some]
        l2 = options.get("l2", 0.0)
        hessian = dense_hessian(surface.model, cross_entropy, *batch, l2)
        surface.model.zero_grad()
        cross_entropy(surface.model(batch[0]), batch[1]).mean().backward()
        gradient = torch.cat([(one.grad + l2 * one).detach().flatten() for one in surface.model.parameters()])
        assert curvature == pytest.approx(float(gradient @ hessian @ gradient), rel=1e-8)
        assert squared_norm == pytest.approx(float(gradient @ gradient), rel=1e-10)


@pytest.mark.parametrize("batch_size", [1, 3, 6])
def test_on_a_quadratic_the_second_pass_is_exact(batch_size):
    surface = quadratic(curved(6), np.arange(6.0), np.ones(6), l2=0.2)
    options = {"batch_size": batch_size, "batches": 4}
    exact = batch_curvatures(surface, generator=draws(), **options)
    second = batch_curvatures(surface, generator=draws(), second_pass=0.3, **options)
    np.testing.assert_allclose(second.curvature, exact.curvature, rtol=1e-10)
    np.testing.assert_allclose(second.squared_norm, exact.squared_norm, rtol=1e-12)


def test_on_a_network_the_second_pass_nears_the_product_as_its_rate_falls():
    surface = trained_surface()
    exact = batch_curvatures(surface, batch_size=96, batches=1, generator=draws()).curvature[0]
    errors = [
        abs(batch_curvatures(surface, batch_size=96, batches=1, generator=draws(), second_pass=rate).curvature[0] / exact - 1)
        for rate in (1.0, 1e-2, 1e-4)
    ]  # fmt: skip
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3


def every_batch(surface: Surface, size: int, **options) -> BatchCurvatures:
    """Return what all subsets of this size have."""
    each = []
    for some in map(list, itertools.combinations(range(surface.count), size)):
        batch = surface.on(surface.inputs[some], surface.targets[some])
        each.append(batch_curvatures(batch, batch_size=size, batches=1, generator=draws(), **options))
    return BatchCurvatures(
        size, *(np.array([getattr(one, of)[0] for one in each]) for of in ("curvature", "squared_norm"))
    )


def test_the_two_definitions_differ_as_they_must():
    """T7: the mean of ratios is the mean of a, the ratio of means E a_B^3 / E a_B^2."""
    every = every_batch(scalar_surface(), 2)
    assert every.mean_of_ratios().value == pytest.approx(CURVATURES.mean(), rel=1e-12)
    assert every.ratio_of_means().value == pytest.approx(TRUE_CUBES / TRUE_SQUARES, rel=1e-12)
    assert 1.2 * CURVATURES.mean() < TRUE_CUBES / TRUE_SQUARES


def test_batches_are_uniform_subsets():
    found = batch_curvatures(scalar_surface(), batch_size=2, batches=300, generator=draws())
    ratios = found.curvature / found.squared_norm
    assert_unbiased(ratios, CURVATURES.mean(), smallest_bias=0.3)  # standard error 3%
    assert set(ratios.round(9)) == set(PAIRS)


def with_noise(outputs, targets):
    """Return w'Hw/2 + e_i'w, where the outputs are w for every example."""
    hessian = torch.from_numpy(curved(3)).to(outputs)
    return 0.5 * ((outputs @ hessian) * outputs).sum(1) + (outputs * targets).sum(1)


def test_additive_noise_adds_its_trace_to_numerator_and_denominator():
    """T8: E g'Hg = G'HG + tr(H Sigma)/B and E |g|^2 = |G|^2 + tr(Sigma)/B, here of all 3 of 6."""
    model = nn.Linear(1, 3, bias=False).double()
    with torch.no_grad():
        model.weight[:] = torch.tensor([[1.0], [-0.5], [2.0]])
    noise = torch.randn(6, 3, generator=draws(1), dtype=torch.float64)
    every = every_batch(Surface(model, with_noise, torch.ones(6, 1, dtype=torch.float64), noise), 3, second_pass=0.1)
    hessian = curved(3)
    gradient = hessian @ np.array([1.0, -0.5, 2.0]) + noise.numpy().mean(0)
    covariance = np.cov(noise.numpy().T) * (1 / 3 - 1 / 6)
    top, bottom = (
        gradient @ hessian @ gradient + np.trace(hessian @ covariance),
        gradient @ gradient + np.trace(covariance),
    )
    assert every.curvature.mean() == pytest.approx(top, rel=1e-10)
    assert every.squared_norm.mean() == pytest.approx(bottom, rel=1e-10)
    assert every.ratio_of_means().value == pytest.approx(top / bottom, rel=1e-10)


def test_intervals_cover_as_often_as_they_say():
    """Of 1,000 studies of 32 batches, as of T7: binomial standard error 0.7%. The skewed ratio of means covers 92%."""
    draw, hits = np.random.default_rng(0), np.zeros(2)
    for _ in range(1000):
        batches = draw.permuted(np.tile(CURVATURES, (32, 1)), axis=1)[:, :2].mean(1)
        found = BatchCurvatures(2, batches**3, batches**2)
        truths = CURVATURES.mean(), TRUE_CUBES / TRUE_SQUARES
        for at, (one, truth) in enumerate(zip((found.mean_of_ratios(), found.ratio_of_means()), truths, strict=True)):
            hits[at] += one.low <= truth <= one.high
    assert (np.abs(hits / 1000 - 0.95) < 0.04).all(), hits


def test_of_the_whole_set_batches_do_not_differ_and_both_definitions_agree():
    found = batch_curvatures(trained_surface(), batch_size=96, batches=3, generator=draws())
    both = found.mean_of_ratios(), found.ratio_of_means()
    assert both[0].value == pytest.approx(both[1].value, rel=1e-12)
    assert all(one.high - one.low == pytest.approx(0, abs=1e-6 * abs(one.value)) for one in both)
    alone = batch_curvatures(trained_surface(), batch_size=96, batches=1, generator=draws())
    assert [(one.low, one.high) for one in (alone.mean_of_ratios(), alone.ratio_of_means())] == [(None, None)] * 2


@pytest.mark.parametrize(("weight", "reason"), [(0.0, "3 of 3 batches have no gradient"), (np.inf, "not finite")])
def test_without_gradients_there_is_no_sharpness(weight, reason):
    found = batch_curvatures(scalar_surface(weight), batch_size=2, batches=3, generator=draws())
    for one in (found.mean_of_ratios(), found.ratio_of_means()):
        assert one.value is None
        assert reason in one.reason


@pytest.mark.parametrize(
    ("bad", "message"),
    [({"batch_size": 6}, "5 examples"), ({"batch_size": 0}, "5 examples"), ({"batches": 0}, "at least 1 batch"),
     ({"second_pass": 0.0}, "above 0")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        batch_curvatures(scalar_surface(), **({"batch_size": 2, "batches": 3, "generator": draws()} | bad))
