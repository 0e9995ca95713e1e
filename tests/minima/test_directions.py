"""Directions by filter: a loop over output units."""

import numpy as np
import pytest
import torch

from critbatch.minima.directions import filter_normalised, filter_norms, random_direction
from tests.minima.surfaces import NETWORKS, network_surface


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_filter_gets_the_length_of_the_networks_and_biases_stay(name):
    surface = network_surface(name)
    direction = torch.randn(surface.size, generator=draws(), dtype=torch.float64)
    found = surface.named(filter_normalised(surface, direction))
    for key, given in surface.named(direction).items():
        own = surface.model.get_parameter(key).detach()
        if own.dim() == 1:
            assert float(found[key].abs().max()) == 0
            continue
        for one, there, here in zip(found[key], given, own, strict=True):
            expected = there.numpy() / np.linalg.norm(there.numpy()) * np.linalg.norm(here.numpy())
            np.testing.assert_allclose(one.numpy(), expected, rtol=1e-10)


def test_norms_are_those_of_filters_and_of_single_biases():
    surface = network_surface("cnn with batch norm")
    norms = surface.named(filter_norms(surface, surface.point))
    for key, own in surface.model.named_parameters():
        for norm, one in zip(norms[key], own.detach(), strict=True):
            torch.testing.assert_close(norm, one.norm().expand_as(norm))


def test_a_filter_of_zeros_stays_where_it_is_and_draws_repeat():
    surface = network_surface("mlp")
    nothing = filter_normalised(surface, torch.zeros_like(surface.point))
    assert float(nothing.abs().max()) == 0
    one, again, other = (random_direction(surface, generator=draws(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.dtype == torch.float64
