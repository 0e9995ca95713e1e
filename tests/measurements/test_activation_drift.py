"""Percentiles of what hidden units are given: by hand, with and without BatchNorm, and no trace in training."""

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.measurement import Snapshot
from critbatch.measurements.activation_drift import ActivationDrift
from critbatch.models.hidden import reference_examples
from critbatch.models.mlp import mlp
from tests.problems import MODELS, blob_task, run_of

SHOWN = (15, 50, 85)


def snapshot_of(task, model: nn.Module) -> Snapshot:
    return Snapshot(
        task=task, model=model.train(), inputs=task.train.inputs, targets=task.train.targets, population=96,
        batch_size=4, learning_rate=0.1, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip


def table(found: dict[str, float], units: int) -> np.ndarray:
    return np.array([[found[f"unit_input_percentile_{one}[unit={unit}]"] for unit in range(units)] for one in SHOWN])


@pytest.mark.parametrize("norm", [False, True])
def test_they_are_those_of_a_forward_pass_by_hand(norm):
    task = blob_task(lambda: mlp((4, 6, 5, 3), nn.Sigmoid, batch_norm=norm))
    model = task.initialise(0)
    found = ActivationDrift(examples=40, units=5).measure(snapshot_of(task, task.initialise(0)))
    values = reference_examples(task, 40, next(model.parameters())).inputs.double().numpy()
    layers = [one for one in model if isinstance(one, nn.Linear)]
    for layer in layers[:2]:
        if layer is layers[1]:
            values = 1 / (1 + np.exp(-values))
        values = values @ layer.weight.detach().double().numpy().T + layer.bias.detach().double().numpy()
        if norm:
            values = (values - values.mean(0)) / np.sqrt(values.var(0) + 1e-5)
    assert values.shape == (40, 5)
    # 1e-5: the forward pass is in single precision
    np.testing.assert_allclose(table(found, 5), np.percentile(values, SHOWN, axis=0), rtol=0, atol=1e-5)


def test_a_shift_of_what_the_units_are_given_is_the_drift_of_every_percentile():
    task = blob_task(lambda: mlp((4, 6, 3), nn.ReLU))
    model, moved = task.initialise(0), task.initialise(0)
    with torch.no_grad():
        moved[1].bias.add_(0.25)
    before, after = (ActivationDrift(units=6).measure(snapshot_of(task, one)) for one in (model, moved))
    np.testing.assert_allclose(table(after, 6) - table(before, 6), 0.25, atol=1e-6)


def test_activations_written_as_functions_do_not_matter_and_a_linear_model_has_no_units():
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.out = nn.Linear(4, 6), nn.Linear(6, 3)

        def forward(self, inputs):
            return self.out(self.first(inputs).relu())

    task = blob_task(Written)
    written = task.initialise(0)
    listed = nn.Sequential(written.first, nn.ReLU(), written.out)
    assert ActivationDrift().measure(snapshot_of(task, written)) == ActivationDrift().measure(snapshot_of(task, listed))
    linear = blob_task(lambda: nn.Sequential(nn.Linear(4, 3)))
    assert np.isnan(list(ActivationDrift().measure(snapshot_of(linear, linear.initialise(0))).values())).all()


@pytest.mark.parametrize("name", MODELS)
def test_measuring_leaves_training_alone(name):
    task = blob_task(MODELS[name])
    ends = [
        train_run(task, run_of(task, budget=Steps(12), measurements=some), torch.device("cpu")).records
        for some in ((), (ActivationDrift(),))
    ]
    plain, measured = (one.filter(one["quantity"] == "test_loss")["value"].to_list() for one in ends)
    assert plain == measured


@pytest.mark.parametrize("bad", [{"examples": 0}, {"units": 0}, {"per_decade": 0}])
def test_nothing_to_measure_is_refused(bad):
    with pytest.raises(ValueError, match="at least 1"):
        ActivationDrift(**bad)
