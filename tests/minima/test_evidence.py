"""The evidence: exact for linear regression, numerical integration for logistic, a dense twin, negative curvature, refusals."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad
from scipy.stats import multivariate_normal
from torch import nn

from critbatch.minima.evidence import MOST_PARAMETERS, laplace_evidence
from critbatch.minima.surface import Surface
from critbatch.objective import binary_cross_entropy, cross_entropy, squared_error
from tests.minima.matrices import dense_hessian, draws
from tests.problems import blobs, small_mlp

COUNT = 15


def linear_model(weights: torch.Tensor) -> nn.Module:
    model = nn.Linear(weights.shape[1], weights.shape[0], bias=False).double()
    with torch.no_grad():
        model.weight.copy_(weights)
    return model


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=draws(seed), dtype=torch.float64)


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_of_linear_regression_it_is_the_density_of_the_targets(curvature):
    # targets are normal with covariance 1 + X X' / precision; the loss leaves out 1/2 ln(2 pi) for each
    precision, design, targets = 0.7, numbers(COUNT, 3), numbers(COUNT, 1, seed=1)
    best = torch.linalg.solve(design.T @ design + precision * torch.eye(3, dtype=torch.float64), design.T @ targets)
    surface = Surface(linear_model(best.T), squared_error, design, targets, l2=precision / COUNT)
    found = laplace_evidence(surface, classes=1, curvature=curvature)
    covariance = np.eye(COUNT) + design.numpy() @ design.numpy().T / precision
    truth = multivariate_normal(cov=covariance).logpdf(targets[:, 0].numpy()) + COUNT / 2 * math.log(2 * math.pi)
    assert found.value == pytest.approx(truth, rel=1e-10)
    assert found.clamped == 0
    assert found.unfinished < 1e-20
    elsewhere = surface.at(surface.point + 0.3)
    away = laplace_evidence(elsewhere, classes=1, curvature=curvature)
    assert away.value + away.unfinished == pytest.approx(truth, rel=1e-10), "of a quadratic it is known from anywhere"


def logistic(precision: float = 1.0) -> Surface:
    """Return the surface of logistic regression with two weights, at its minimum, by Newton's method."""
    design = numbers(60, 2)
    targets = (
        torch.rand(60, generator=draws(3), dtype=torch.float64) < (design @ numbers(2, seed=2)).sigmoid()
    ).double()
    weights = torch.zeros(2, dtype=torch.float64)
    for _ in range(20):
        chance = (design @ weights).sigmoid()
        gradient = design.T @ (chance - targets) + precision * weights
        hessian = (design.T * (chance * (1 - chance))) @ design + precision * torch.eye(2)
        weights = weights - torch.linalg.solve(hessian, gradient)
    return Surface(linear_model(weights[None]), binary_cross_entropy, design, targets, l2=precision / 60)


def test_of_logistic_regression_it_is_near_the_integral():
    surface = logistic()
    design, targets = surface.inputs.numpy(), surface.targets.numpy()

    def likelihood_and_prior(one: float, other: float) -> float:
        logits = design @ np.array([one, other])
        log_likelihood = (targets * logits - np.logaddexp(0, logits)).sum()
        return math.exp(log_likelihood + 40 - (one**2 + other**2) / 2) / (2 * math.pi)

    integral, _ = dblquad(likelihood_and_prior, -4, 4, -4, 4, epsabs=1e-6, epsrel=1e-6)
    found = laplace_evidence(surface, classes=2)
    assert found.unfinished < 1e-20
    # what is left is of the order of parameters/examples: 0.03 nats
    assert found.value == pytest.approx(math.log(integral) - 40, abs=0.05)
    assert found.null == pytest.approx(60 * math.log(2))
    assert found.ratio == pytest.approx(found.null - found.cost - found.occam)


def test_it_is_made_of_the_dense_hessian_of_the_summed_loss():
    surface = logistic(0.5)
    hessian = 60 * dense_hessian(
        surface.model, binary_cross_entropy, surface.inputs, surface.targets
    ) + 0.5 * torch.eye(2)
    found = laplace_evidence(surface, classes=2)
    assert found.occam == pytest.approx(float(torch.logdet(hessian / 0.5)) / 2, rel=1e-12)
    losses = nn.functional.softplus(-(2 * surface.targets - 1) * (surface.inputs @ surface.point))
    assert found.cost == pytest.approx(float(losses.sum() + 0.25 * surface.point @ surface.point), rel=1e-12)


def random_network() -> Surface:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = small_mlp().double()
    inputs, targets = blobs(40, 0, torch.float64)
    return Surface(model, cross_entropy, inputs, targets, l2=0.01)


def test_directions_that_curve_downwards_cost_nothing_and_are_counted():
    surface = random_network()
    relative = torch.linalg.eigvalsh(
        dense_hessian(surface.model, cross_entropy, surface.inputs, surface.targets) / 0.01 + torch.eye(surface.size)
    ).numpy()
    found = laplace_evidence(surface, classes=3)
    assert found.smallest == pytest.approx(relative[0], rel=1e-8)
    assert found.smallest < 0
    assert 0 < (relative < 1 - 1e-9).sum() == found.clamped < surface.size
    assert found.occam == pytest.approx(0.5 * np.log(relative[relative > 1]).sum(), rel=1e-9)
    assert found.unfinished > 1, "nobody has trained it"
    positive = laplace_evidence(surface, classes=3, curvature="gauss_newton")
    assert positive.clamped == 0
    assert positive.smallest == pytest.approx(1, abs=1e-9)
    assert positive.cost == found.cost


def test_weights_that_explain_random_labels_are_not_worth_their_cost():
    # logistic regression on ten features: what a separable truth is worth, and what labels without one are
    design, ratios = numbers(60, 10), []
    for labels in (design[:, 0] > 0, numbers(60, seed=9) > 0):
        weights = torch.zeros(10, dtype=torch.float64)
        for _ in range(30):
            chance = (design @ weights).sigmoid()
            gradient = design.T @ (chance - labels.double()) + weights
            hessian = (design.T * (chance * (1 - chance))) @ design + torch.eye(10)
            weights = weights - torch.linalg.solve(hessian, gradient)
        surface = Surface(linear_model(weights[None]), binary_cross_entropy, design, labels.double(), l2=1 / 60)
        ratios.append(laplace_evidence(surface, classes=2).ratio)
    assert ratios[0] > 10 > 0 > ratios[1]


def test_what_is_not_finite_has_no_evidence():
    surface = random_network()
    found = laplace_evidence(surface.at(surface.point * torch.nan), classes=3)
    assert math.isnan(found.value)
    assert math.isnan(found.ratio)


def test_a_model_without_prior_or_with_too_many_parameters_is_refused():
    inputs, targets = blobs(8, 0)
    with pytest.raises(ValueError, match=r"l2=0.0 is no prior"):
        laplace_evidence(Surface(small_mlp(), cross_entropy, inputs, targets), classes=3)
    wide = nn.Sequential(nn.Linear(4, 600), nn.Linear(600, 3))
    with pytest.raises(ValueError, match=f"4803 parameters need as many products; at most {MOST_PARAMETERS}"):
        laplace_evidence(Surface(wide, cross_entropy, inputs, targets, l2=0.1), classes=3)
