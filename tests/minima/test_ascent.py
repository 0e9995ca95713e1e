"""The sharpness of sharpness-aware minimisation: the closed form of a quadratic, and groups one at a time."""

import numpy as np
import pytest
import scipy.stats
import torch

from critbatch.minima.ascent import ascent_sharpness, micro_batch_ascent_sharpness
from tests.minima.surfaces import NETWORKS, curved, network_surface, quadratic, trained_surface


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("l2", [0.0, 0.5])
def test_of_a_quadratic_it_is_radius_gradient_and_half_curvature(l2):
    hessian, point = curved(5), np.arange(5.0)
    gradient = hessian @ (point - 1) + l2 * point
    unit = gradient / np.linalg.norm(gradient)
    truth = 0.3 * np.linalg.norm(gradient) + 0.3**2 / 2 * unit @ (hessian + l2 * np.eye(5)) @ unit
    surface = quadratic(hessian, point, np.ones(5), l2=l2)
    assert ascent_sharpness(surface, radius=0.3) == pytest.approx(truth, rel=1e-10)


def naive(model, losses, inputs, targets, radius: float) -> float:
    """Return the rise by moving the parameters of the model itself, and back."""
    parameters = list(model.parameters())
    before = losses(model(inputs), targets).mean()
    gradients = torch.autograd.grad(before, parameters)
    length = np.sqrt(sum(float(one.square().sum()) for one in gradients))
    with torch.no_grad():
        for one, gradient in zip(parameters, gradients, strict=True):
            one += radius / length * gradient
        after = losses(model(inputs), targets).mean()
        for one, gradient in zip(parameters, gradients, strict=True):
            one -= radius / length * gradient
    return float(after - before.detach())


@pytest.mark.parametrize("name", NETWORKS)
def test_groups_are_measured_one_by_one_and_the_rest_is_left_out(name):
    surface = network_surface(name)
    order = torch.randperm(24, generator=draws(3))
    parts = [(surface.inputs[some], surface.targets[some]) for some in order[:21].split(7)]
    values = [naive(surface.model, surface.losses, *part, 0.05) for part in parts]
    found = micro_batch_ascent_sharpness(surface, size=7, generator=draws(3))
    assert found.value == pytest.approx(np.mean(values), rel=1e-8)
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), np.std(values, ddof=1) / 3**0.5)
    assert (found.low, found.high) == (pytest.approx(low, rel=1e-7), pytest.approx(high, rel=1e-7))
    assert found.count == 3


def test_one_group_is_the_whole_set_and_smaller_ones_rise_higher():
    surface = trained_surface()
    whole = micro_batch_ascent_sharpness(surface, size=96, generator=draws())
    assert whole.value == pytest.approx(ascent_sharpness(surface), rel=1e-12)
    assert whole.low is None
    smaller = [micro_batch_ascent_sharpness(surface, size=size, generator=draws()).value for size in (1, 4, 16)]
    assert smaller[0] > smaller[1] > smaller[2] > whole.value > 0


def test_at_a_stationary_point_it_is_nothing():
    assert ascent_sharpness(quadratic(curved(3), np.ones(3), np.ones(3))) == 0


def test_a_loss_that_is_not_finite_has_no_mean():
    surface = quadratic(curved(3), np.ones(3), np.zeros(3))
    surface.losses = lambda outputs, targets: outputs.sum(1) / 0
    found = micro_batch_ascent_sharpness(surface, size=1, generator=draws())
    assert found.value is None
    assert found.reason == "a loss is not finite"


@pytest.mark.parametrize("size", [0, 4])
def test_groups_larger_than_the_set_are_refused(size):
    with pytest.raises(ValueError, match=f"size={size}.*3 examples"):
        micro_batch_ascent_sharpness(quadratic(curved(3), np.ones(3), np.zeros(3)), size=size, generator=draws())


def test_a_radius_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"radius=0.0\)`: must be above 0"):
        ascent_sharpness(quadratic(curved(3), np.ones(3), np.zeros(3)), radius=0.0)
