"""A long trajectory of SGD at a constant rate, beside its nulls."""

import math

import pytest
import torch
from torch import nn

from critbatch.measurement import Snapshot
from critbatch.measurements.steady_state import SteadyState, two_layer
from critbatch.measuring import measure_task
from tests.problems import blob_task, small_mlp

QUICK = SteadyState(epochs=400, burn_in=20, components=2, draws=2)


def rectified() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def test_every_number_is_there_and_the_same_again():
    task = blob_task(rectified, l2=0.05)
    found, again = (measure_task(QUICK, task, batch_size=16, learning_rate=0.1, seed=2) for _ in range(2))
    assert found == again
    assert all(
        math.isfinite(value) for name, value in found.items() if "turning" not in name
    )  # an interval may be missing
    for way in ("shuffled", "replacement", "isotropic"):
        assert found[f"steady_circulation[{way}]"] > 0
        assert 0 < found[f"steady_circulation_equilibrium[{way}]"] < 1
        assert found[f"steady_asymmetry[{way}]"] >= 0
    # at equilibrium, where isotropic noise is, the ratio scatters by about a factor of 2 with so short a trajectory
    assert found["steady_circulation[isotropic]"] / found["steady_circulation_equilibrium[isotropic]"] < 5


def test_a_trajectory_that_does_not_stay_finite_has_no_numbers():
    task = blob_task(rectified)
    found = measure_task(QUICK, task, batch_size=16, learning_rate=1e160)
    assert math.isnan(found["steady_circulation[shuffled]"])


def test_the_network_is_the_models():
    task = blob_task(rectified, l2=0.05)
    model = task.initialise(1)
    snapshot = _snapshot(task, model)
    network, start = two_layer(snapshot)
    inputs, targets = task.train.inputs.double(), task.train.targets
    loss = task.losses(model.double()(inputs), targets).mean()
    parts = torch.autograd.grad(loss, list(model.parameters()))
    expected = torch.cat([one.flatten() for one in parts]) + 0.05 * torch.from_numpy(start)
    assert network.gradient(start, slice(None)) == pytest.approx(expected.numpy(), rel=1e-8)


def _snapshot(task, model):
    return Snapshot(task, model, task.train.inputs, task.train.targets, 96, 16, 0.1, torch.Generator().manual_seed(0))


def test_it_refuses_other_networks_and_other_losses():
    with pytest.raises(ValueError, match="follows Flatten, Linear, ReLU, Linear alone"):
        measure_task(QUICK, blob_task(small_mlp), batch_size=16)
    halved = blob_task(
        rectified, loss=lambda outputs, targets: 0.5 * nn.functional.cross_entropy(outputs, targets, reduction="none")
    )
    with pytest.raises(ValueError, match="cross-entropy alone"):
        measure_task(QUICK, halved, batch_size=16)


@pytest.mark.parametrize("bad", [{"epochs": 399}, {"burn_in": -1}, {"components": 1}, {"draws": 0}])
def test_it_refuses_what_makes_no_sense(bad):
    with pytest.raises(ValueError, match="SteadyState"):
        SteadyState(**bad)
