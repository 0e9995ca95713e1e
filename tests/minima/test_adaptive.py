"""Adaptive sharpness: closed forms of a quadratic, filters by a loop; the Fisher-Rao norm by Liang's theorem and a loop."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import nn
from torch.autograd.function import once_differentiable

from critbatch.minima.adaptive import adaptive_sharpness, fisher_rao_norm
from critbatch.minima.surface import Surface
from critbatch.objective import cross_entropy
from tests.minima.surfaces import NETWORKS, curved, network_surface, quadratic, trained_surface
from tests.problems import blobs


def test_in_a_box_a_separable_quadratic_rises_by_the_sum_over_coordinates():
    values, point, minimum = np.array([3.0, 0.2, 10.0]), np.array([0.5, -2.0, 0.3]), np.array([0.4, -1.8, 0.31])
    away = abs(point - minimum)
    truth = 0.5 * values @ ((away + 0.02 * abs(point)) ** 2 - away**2)
    found = adaptive_sharpness(quadratic(np.diag(values), point, minimum), radius=0.02, shape="box")
    assert found == pytest.approx(truth, rel=1e-10)


def largest_in_ball(matrix: np.ndarray, slope: np.ndarray, radius: float) -> float:
    """Return the largest slope'u + u'Mu/2 in |u| <= radius, by the equation for the multiplier."""
    values, vectors = np.linalg.eigh(matrix)
    turned = vectors.T @ slope

    def excess(multiplier: float) -> float:
        return np.linalg.norm(turned / (multiplier - values)) - radius

    top = values[-1]
    multiplier = brentq(excess, top * (1 + 1e-9), top + 1 + np.linalg.norm(slope) / radius, xtol=1e-14)
    best = turned / (multiplier - values)
    return float(turned @ best + 0.5 * values @ best**2)


@pytest.mark.parametrize("seed", range(3))
def test_in_a_ball_of_a_quadratic_it_is_the_trust_region_maximum(seed):
    draw = np.random.default_rng(seed)
    hessian, point = curved(6, seed), draw.normal(size=6)
    minimum = point + 0.05 * draw.normal(size=6)
    scaled = np.diag(abs(point)) @ hessian @ np.diag(abs(point))
    truth = largest_in_ball(scaled, abs(point) * (hessian @ (point - minimum)), 0.3)
    surface = quadratic(hessian, point, minimum)
    assert adaptive_sharpness(surface, radius=0.3, steps=300) == pytest.approx(truth, rel=1e-8)
    assert 0.75 * truth <= adaptive_sharpness(surface, radius=0.3) <= truth


def test_one_step_goes_along_the_gradient_in_units_of_the_scale():
    surface = trained_surface()
    scale, gradient = surface.point.abs(), surface.gradient()
    step = scale**2 * gradient / torch.linalg.vector_norm(scale * gradient)
    expected = surface.loss(surface.point + 0.4 * step) - surface.loss()
    assert adaptive_sharpness(surface, radius=0.4, steps=1) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_scale_of_a_filter_is_the_norm_of_an_output_units_weights(name):
    surface = network_surface(name)
    scales = []
    for one in surface.model.parameters():
        rows = one.detach().numpy().reshape(len(one), -1)
        scales += [np.full(rows.shape[1], np.linalg.norm(row)) for row in rows]
    scale, gradient = torch.from_numpy(np.concatenate(scales)), surface.gradient()
    step = scale**2 * gradient / torch.linalg.vector_norm(scale * gradient)
    expected = surface.loss(surface.point + 0.2 * step) - surface.loss()
    assert adaptive_sharpness(surface, radius=0.2, scale="filter", steps=1) == pytest.approx(expected, rel=1e-9)


def test_more_steps_never_find_less_and_no_gradient_finds_nothing():
    rises = [adaptive_sharpness(trained_surface(), radius=0.5, steps=steps) for steps in (1, 3, 10)]
    assert 0 < rises[0] <= rises[1] <= rises[2]
    assert adaptive_sharpness(quadratic(curved(3), np.ones(3), np.ones(3)), radius=0.5) == 0


def cliff(outputs, targets):
    return torch.where(outputs > targets, torch.inf, outputs.square()).sum(1)


@pytest.mark.parametrize(("edge", "value"), [(0.55, math.inf), (0.4, math.nan)])
def test_a_loss_that_is_not_finite_is_said(edge, value):
    surface = quadratic(np.eye(1), np.array([0.5]), np.zeros(1))
    surface.losses, surface.targets = cliff, torch.full((1, 1), edge, dtype=torch.float64)
    assert adaptive_sharpness(surface, radius=0.2) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize("bad", [{"radius": 0.0}, {"radius": 0.1, "steps": 0}])
def test_what_makes_no_sense_is_refused(bad):
    with pytest.raises(ValueError, match="radius above 0 and at least 1 step"):
        adaptive_sharpness(trained_surface(), **bad)


def naive_norm(surface: Surface) -> float:
    """Return the Fisher-Rao norm from the gradient of one example at a time."""
    parameters, squares = list(surface.model.parameters()), []
    for one_input, one_target in zip(surface.inputs, surface.targets, strict=True):
        loss = surface.losses(surface.model(one_input[None]), one_target[None]).sum()
        gradients = torch.autograd.grad(loss, parameters)
        along = sum((g * w).sum() for g, w in zip(gradients, parameters, strict=True))
        squares.append(along.item() ** 2)
    return math.sqrt(np.mean(squares))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_fisher_rao_norm_is_that_of_single_gradients_whatever_the_penalty(name):
    for surface in (network_surface(name), network_surface(name, l2=0.3), network_surface(name, chunk=7)):
        assert fisher_rao_norm(surface) == pytest.approx(naive_norm(surface), rel=1e-10)


def test_of_three_layers_without_bias_it_is_three_times_the_slope_along_the_outputs():
    """Liang et al. (2019), Theorem 3.1: w'g = depth x (derivative of the loss by the outputs) . outputs."""
    layers = [nn.Linear(width, width - 1, bias=False) for width in (6, 5, 4)]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2]).double()
    inputs, targets = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)).double(), blobs(20, 1)[1]
    outputs = model(inputs).detach()
    slopes = outputs.softmax(1) - nn.functional.one_hot(targets, 3)
    truth = 3 * float((slopes * outputs).sum(1).square().mean().sqrt())
    assert fisher_rao_norm(Surface(model, cross_entropy, inputs, targets)) == pytest.approx(truth, rel=1e-10)


class Once(torch.autograd.Function):
    """tanh with a derivative that cannot be differentiated."""

    @staticmethod
    def forward(context, inputs):
        outputs = inputs.tanh()
        context.save_for_backward(outputs)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(context, slopes):
        (outputs,) = context.saved_tensors
        return slopes * (1 - outputs**2)


class OnceNet(nn.Module):
    def __init__(self, activation) -> None:
        super().__init__()
        self.first, self.second, self.activation = nn.Linear(4, 6), nn.Linear(6, 3), activation

    def forward(self, inputs):
        return self.second(self.activation(self.first(inputs)))


def test_without_second_derivatives_it_is_a_difference():
    data, once = blobs(20, 0, torch.float64), OnceNet(Once.apply).double()
    twice = OnceNet(torch.tanh).double()
    twice.load_state_dict(once.state_dict())
    norms = [fisher_rao_norm(Surface(model, cross_entropy, *data)) for model in (once, twice)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-8)
    assert fisher_rao_norm(Surface(twice, cross_entropy, *data, second="differences")) == norms[0]
