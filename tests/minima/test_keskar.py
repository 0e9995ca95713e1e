"""Metric 2.1: closed forms, all corners of the box, sign ascent from many starts, and what cannot be had."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.minima.keskar import keskar_sharpness, random_directions
from critbatch.minima.surface import Surface
from tests.minima.surfaces import NETWORKS, curved, network_surface, quadratic, trained_surface


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def percent(largest: float, centre: float) -> float:
    return 100 * (largest - centre) / (1 + centre)


@pytest.mark.parametrize("epsilon", [1e-3, 5e-4])
@pytest.mark.parametrize("offset", [1.0, 0.0])
@pytest.mark.parametrize("is_minimum", [False, True])
def test_of_a_separable_quadratic_it_is_the_sum_over_coordinates(epsilon, offset, is_minimum):
    values, point = np.array([3.0, 0.2, 10.0, 1.0]), np.array([0.5, -2.0, 0.01, 4.0])
    minimum = point if is_minimum else np.array([0.4, -1.8, 0.3, 4.1])
    surface = quadratic(np.diag(values), point, minimum)
    half, away = epsilon * (abs(point) + offset), abs(point - minimum)
    truth = percent(0.5 * values @ (away + half) ** 2, 0.5 * values @ away**2)
    found = keskar_sharpness(surface, epsilon=epsilon, offset=offset, generator=draws())
    assert found.value == pytest.approx(truth, rel=1e-8)
    assert found.at_bound == 1


def corners(hessian, point, minimum, half, directions) -> float:
    """Return the largest loss over the corners of the box: of a convex loss, the largest there is."""
    losses = []
    for signs in itertools.product((-1, 1), repeat=len(half)):
        away = point + directions @ (half * signs) - minimum
        losses.append(0.5 * away @ hessian @ away)
    return max(losses)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("space", ["full", "random"])
def test_of_a_convex_quadratic_it_is_the_highest_corner(seed, space):
    draw = np.random.default_rng(seed)
    hessian, point = curved(8, seed), draw.normal(size=8)
    minimum = point + 1e-3 * draw.normal(size=8)
    surface = quadratic(hessian, point, minimum)
    directions = random_directions(surface, generator=draws(seed), count=5) if space == "random" else None
    matrix = np.eye(8) if directions is None else directions.numpy()
    half = 1e-2 * (abs(np.linalg.pinv(matrix) @ point) + 1)
    centre = 0.5 * (point - minimum) @ hessian @ (point - minimum)
    truth = percent(corners(hessian, point, minimum, half, matrix), centre)
    options = {"epsilon": 1e-2, "directions": directions, "generator": draws()}
    assert keskar_sharpness(surface, starts=20, **options).value == pytest.approx(truth, rel=1e-6)
    assert 0.5 * truth <= keskar_sharpness(surface, **options).value <= truth * (1 + 1e-9)


def sign_ascent(surface: Surface, half: torch.Tensor) -> float:
    """Return the largest loss that 12 steps to the corner ahead find from 6 random starts."""
    largest = -math.inf
    for seed in range(6):
        here = surface.point + half * (2 * torch.rand(len(half), generator=draws(seed), dtype=torch.float64) - 1)
        for _ in range(12):
            here = surface.point + half * surface.gradient(here).sign()
            largest = max(largest, surface.loss(here))
    return largest


@pytest.mark.parametrize(("epsilon", "offset"), [(1e-3, 1.0), (5e-4, 1.0), (1e-2, 1.0), (1e-2, 0.0)])
def test_of_a_trained_network_it_is_near_the_best_of_many_sign_ascents(epsilon, offset):
    surface = trained_surface()
    best = percent(sign_ascent(surface, epsilon * (surface.point.abs() + offset)), surface.loss())
    found = keskar_sharpness(surface, epsilon=epsilon, offset=offset, generator=draws()).value
    assert 0.97 * best <= found <= 1.03 * best
    single = trained_surface()
    single.model.float()
    low = Surface(single.model, single.losses, single.inputs.float(), single.targets)
    rounded = keskar_sharpness(low, epsilon=epsilon, offset=offset, generator=draws()).value
    assert rounded == pytest.approx(found, rel=0.03)


@pytest.mark.parametrize("name", NETWORKS)
def test_no_random_point_of_the_box_is_higher(name):
    surface = network_surface(name)
    directions = random_directions(surface, generator=draws(1))
    for matrix in (None, directions):
        found = keskar_sharpness(surface, epsilon=1e-2, directions=matrix, generator=draws())
        columns = np.eye(surface.size) if matrix is None else matrix.numpy()
        half = 1e-2 * (abs(np.linalg.lstsq(columns, surface.point.numpy())[0]) + 1)
        drawn = np.random.default_rng(0).uniform(-1, 1, size=(20, len(half))) * half
        losses = [surface.loss(surface.point + torch.from_numpy(columns @ one)) for one in drawn]
        assert found.value > 1.2 * percent(max(losses), surface.loss()) > 0


def concave(outputs, targets):
    return 1 - (outputs - targets).square().sum(1)


def test_a_maximum_inside_the_box_is_found_there():
    point = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    model = nn.Linear(2, 1, bias=False).double()
    with torch.no_grad():
        model.weight[:] = point
    rotated = torch.tensor([[1.0, 0.3], [-0.3, 1.0]], dtype=torch.float64)
    surface = Surface(model, concave, rotated, rotated @ (point + 4e-4).T)
    found = keskar_sharpness(surface, generator=draws())
    assert found.largest == pytest.approx(1, abs=1e-12)
    assert found.value == pytest.approx(percent(1, surface.loss()), rel=1e-9)
    assert found.at_bound == 0


def test_passes_are_counted():
    calls = []

    def losses(outputs, targets):
        calls.append(1)
        return (outputs - targets).square().sum(1)

    surface = quadratic(curved(3), np.ones(3), np.zeros(3))
    surface.losses = losses
    found = keskar_sharpness(surface, generator=draws())
    assert found.evaluations == len(calls) > 2
    assert keskar_sharpness(surface, starts=1).evaluations < found.evaluations


def cliff(outputs, targets):
    return torch.where(outputs > targets, torch.inf, outputs.square()).sum(1)


@pytest.mark.parametrize(("edge", "value"), [(0.5005, math.inf), (0.4, math.nan)])
def test_a_loss_that_is_not_finite_is_said(edge, value):
    model = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        model.weight[:] = 0.5
    one = torch.ones(1, 1, dtype=torch.float64)
    found = keskar_sharpness(Surface(model, cliff, one, edge * one), generator=draws())
    assert found.value == pytest.approx(value, nan_ok=True)


def test_directions_are_as_many_as_there_are_and_standard_normal():
    surface = quadratic(curved(40), np.ones(40), np.zeros(40))
    directions = random_directions(surface, generator=draws())
    assert directions.shape == (40, 40)
    # 1,600 numbers: the mean is within 0.1 and the variance within 0.14 at 4 standard errors
    assert abs(float(directions.mean())) < 0.1
    assert abs(float(directions.var()) - 1) < 0.14
    assert random_directions(surface, generator=draws(), count=7).shape == (40, 7)


@pytest.mark.parametrize(
    ("bad", "message"),
    [({"epsilon": 0.0}, "epsilon must be"), ({"offset": -1.0}, "offset at least 0"), ({"iterations": 0}, "at least 1"),
     ({"starts": 0}, "at least 1"), ({}, "starts=2.*need a `generator`")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        keskar_sharpness(quadratic(curved(3), np.ones(3), np.zeros(3)), **bad)
