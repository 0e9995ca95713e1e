"""Measures of sharpness of one function that is written down in several ways."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.measurements.rescaled_sharpness import UNITS, RescaledSharpness
from critbatch.measuring import measure_task
from critbatch.minima.adaptive import adaptive_sharpness, fisher_rao_norm
from critbatch.minima.surface import Surface
from tests.problems import blob_task, small_mlp


def rectified() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def found(**options) -> dict[str, float]:
    return measure_task(RescaledSharpness(**options), blob_task(rectified), batch_size=8)


def test_at_factor_one_it_is_the_instruments_own_number():
    task = blob_task(rectified)
    surface = Surface(task.initialise(0), task.losses, task.train.inputs, task.train.targets)
    values = found(alphas=(1.0,))
    assert values["rescaled_logit_change[1]"] == 0
    assert values["rescaled_elementwise[1]"] == pytest.approx(adaptive_sharpness(surface, radius=0.5), rel=1e-5)
    assert values["rescaled_fisher_rao[1]"] == pytest.approx(fisher_rao_norm(surface), rel=1e-5)
    outputs = surface.outputs()
    assert values["rescaled_keskar[1]"] > 0
    assert outputs.isfinite().all()


def test_what_is_invariant_stays_and_what_is_not_changes():
    values = found(alphas=(1.0, 100.0))
    ratios = {
        name: values[f"rescaled_{name}[100]"] / values[f"rescaled_{name}[1]"]
        for name in UNITS
        if name != "logit_change"
    }
    for name in ("keskar_adaptive", "elementwise", "filter", "fisher_rao"):
        assert ratios[name] == pytest.approx(1, rel=1e-2), name
    for name in ("keskar", "eigenvalue"):
        assert ratios[name] > 10, name
    assert values["rescaled_logit_change[100]"] < 1e-4


def test_the_same_draws_for_every_factor():
    both, alone = found(alphas=(1.0, 2.0)), found(alphas=(2.0,))
    assert {name: both[name] for name in alone} == pytest.approx(alone, rel=1e-3)


def test_a_network_that_cannot_be_rescaled_has_no_values():
    values = measure_task(RescaledSharpness(alphas=(2.0,)), blob_task(small_mlp), batch_size=8)
    assert all(math.isnan(one) for one in values.values())


def test_a_loss_that_is_not_finite_has_no_values():
    task = blob_task(rectified)
    model = task.initialise(0)
    with torch.no_grad():
        model[0].weight.fill_(np.inf)
    values = measure_task(RescaledSharpness(alphas=(2.0,)), task, model=model, batch_size=8)
    assert math.isnan(values["rescaled_keskar[2]"])


@pytest.mark.parametrize(
    "bad", [{"alphas": ()}, {"alphas": (1.0, 1.0)}, {"alphas": (0.0,)}, {"alphas": (math.inf,)}, {"examples": 0}]
)
def test_it_refuses_what_makes_no_sense(bad):
    with pytest.raises(ValueError, match="RescaledSharpness"):
        RescaledSharpness(**bad)
