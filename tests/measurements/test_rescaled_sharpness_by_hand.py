"""Sharpness of a trained network written down in several ways, beside every single instrument with the same draws."""

import functools
import math

import pytest
import torch
from torch import nn

from critbatch.measurements.rescaled_sharpness import RescaledSharpness
from critbatch.minima.adaptive import adaptive_sharpness, fisher_rao_norm
from critbatch.minima.keskar import keskar_sharpness, random_directions
from critbatch.minima.lanczos import lanczos
from critbatch.minima.surface import Surface
from tests.minima.matrices import dense_hessian
from tests.problems import blob_task, norm_mlp

from .test_hidden_units import snapshot_of

ALPHAS = (1.0, 10.0)


def relu_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@functools.cache
def trained() -> nn.Module:
    """Return a network after 200 steps of Adam on all of the training set."""
    task = blob_task(relu_mlp)
    model = task.initialise(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        task.losses(model(task.train.inputs), task.train.targets).mean().backward()
        optimizer.step()
    return model


@functools.cache
def measured() -> dict[str, float]:
    task = blob_task(relu_mlp, l2=0.1)
    return RescaledSharpness(ALPHAS, examples=60).measure(snapshot_of(task, model=trained(), generator=draws(4)))


def test_at_alpha_1_it_is_what_each_instrument_says_of_the_first_examples():
    task = blob_task(relu_mlp)
    surface = Surface(trained(), task.losses, task.train.inputs[:60], task.train.targets[:60])
    generator = draws(4)
    directions = random_directions(surface, generator=generator)
    expected = {
        "logit_change": 0.0,
        "keskar": keskar_sharpness(surface, epsilon=1e-3, generator=generator).value,
        "keskar_random": keskar_sharpness(surface, epsilon=1e-3, directions=directions, generator=generator).value,
        "keskar_adaptive": keskar_sharpness(surface, epsilon=1e-3, offset=0.0, generator=generator).value,
        "eigenvalue": float(lanczos(surface.hessian(), generator, steps=50).values[0]),
        "elementwise": adaptive_sharpness(surface, radius=0.5, scale="elementwise"),
        "filter": adaptive_sharpness(surface, radius=0.1, scale="filter"),
        "fisher_rao": fisher_rao_norm(surface),
    }
    found = {name: measured()[f"rescaled_{name}[1]"] for name in expected}
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-6)
    hessian = dense_hessian(trained(), task.losses, surface.inputs, surface.targets)
    assert found["eigenvalue"] == pytest.approx(float(torch.linalg.eigvalsh(hessian).max()), rel=1e-3)


def test_the_function_stays_and_rounding_shows_that_it_is_written_down_anew():
    assert 0 < measured()["rescaled_logit_change[10]"] < 1e-4


@pytest.mark.parametrize("name", ["keskar_adaptive", "elementwise", "filter", "fisher_rao"])
def test_measures_in_the_scale_of_the_weights_do_not_change(name):
    first, second = (measured()[f"rescaled_{name}[{alpha:g}]"] for alpha in ALPHAS)
    assert first > 0
    assert second == pytest.approx(first, rel=1e-3)


@pytest.mark.parametrize(("name", "least"), [("keskar", 2.0), ("keskar_random", 1.1), ("eigenvalue", 30.0)])
def test_measures_in_a_scale_of_their_own_change(name, least):
    first, second = (measured()[f"rescaled_{name}[{alpha:g}]"] for alpha in ALPHAS)
    assert not 1 / least < second / first < least


def test_the_generator_decides_the_draws():
    task = blob_task(relu_mlp)
    one, other = (
        RescaledSharpness((10.0,), examples=60).measure(snapshot_of(task, model=trained(), generator=draws(seed)))
        for seed in (4, 5)
    )
    assert one["rescaled_keskar_random[10]"] != pytest.approx(other["rescaled_keskar_random[10]"], rel=1e-4)


@pytest.mark.parametrize("model", [norm_mlp, lambda: nn.Linear(4, 3)], ids=["batch norm", "one layer"])
def test_a_model_that_cannot_be_rescaled_has_no_values(model):
    measurement = RescaledSharpness(ALPHAS, examples=20)
    found = measurement.measure(snapshot_of(blob_task(model)))
    assert list(found) == list(measurement.quantities)
    assert all(math.isnan(one) for one in found.values())
