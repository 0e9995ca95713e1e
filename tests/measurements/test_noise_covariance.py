"""The noise covariance as a measurement: a dense twin in evaluation mode, planted low rank, and no trace in training."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.measurements import noise_covariance
from critbatch.measurements.noise_covariance import NoiseCovariance
from tests.problems import MODELS, blob_task, regression_task, run_of

from .test_hidden_units import snapshot_of

TINY = torch.finfo(torch.float64).eps


def naive(model: nn.Module, task) -> dict[str, float]:
    """Return what the spectrum of the dense covariance says, one example at a time, without dropout."""
    model = model.double().eval()
    rows = []
    for one_input, one_target in zip(task.train.inputs.double(), task.train.targets, strict=True):
        model.zero_grad()
        task.losses(model(one_input[None]), one_target[None]).sum().backward()
        rows.append(np.concatenate([one.grad.numpy().ravel() for one in model.parameters()]))
    count, size = len(rows), len(rows[0])
    values = np.linalg.eigvalsh(np.cov(np.array(rows).T, bias=True))[::-1]
    shares = values[values > 1e-14 * values[0]] / values.sum()
    return {
        "noise_rank[float32]": float((values > values[0] * max(count, size) * np.finfo(np.float32).eps).sum()),
        "noise_participation_ratio": np.trace(np.diag(values)) ** 2 / (values**2).sum(),
        "noise_effective_rank": float(np.exp(-(shares * np.log(shares)).sum())),
        "noise_trace": values.sum(), "noise_largest_eigenvalue": values[0],
        "noise_examples": count, "noise_parameters": size,
    }  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_it_agrees_with_the_dense_covariance(name):
    task = blob_task(MODELS[name])
    model = task.initialise(0)
    model(task.train.inputs)  # running statistics other than at the start
    found = NoiseCovariance().measure(snapshot_of(task, model=model))
    for quantity, value in naive(model, task).items():
        assert found[quantity] == pytest.approx(value, rel=1e-9), quantity
    assert found["noise_rank[float32]"] <= found["noise_rank[float64]"] <= found["noise_parameters"]


def test_noise_in_two_directions_has_rank_two_and_is_below_the_null():
    task = regression_task(dimension=40, count=60)
    flat = torch.zeros(60, 40)
    flat[:, :2] = task.train.inputs[:, :2]
    found = NoiseCovariance().measure(snapshot_of(task, inputs=flat, targets=flat.sum(1, keepdim=True)))
    assert found["noise_rank[float32]"] == found["noise_rank[float64]"] == 2
    assert found["noise_participation_ratio"] < 2 < found["noise_participation_ratio_null"]
    # 59 degrees of freedom in 40 dimensions: (tr W)^2 / tr W^2 is about 59 x 40 / (59 + 40 + 1) = 23.6
    assert 21 < found["noise_participation_ratio_null"] < 23.6


def test_of_a_larger_set_as_many_as_asked_are_drawn_and_fewer_for_large_models(monkeypatch):
    task = blob_task()
    parameters = sum(one.numel() for one in task.initialise(0).parameters())
    assert NoiseCovariance(examples=10).measure(snapshot_of(task))["noise_examples"] == 10
    monkeypatch.setattr(noise_covariance, "MOST_NUMBERS", 7 * parameters)
    assert NoiseCovariance().measure(snapshot_of(task))["noise_examples"] == 7
    monkeypatch.setattr(noise_covariance, "MOST_NUMBERS", parameters)
    assert np.isnan(list(NoiseCovariance().measure(snapshot_of(task)).values())).all()


def test_gradients_that_do_not_differ_or_are_not_finite_have_no_value():
    task = regression_task(dimension=4, count=8)
    for inputs, targets in ((torch.ones(8, 4), torch.ones(8, 1)), (torch.full((8, 4), torch.inf), torch.ones(8, 1))):
        found = NoiseCovariance().measure(snapshot_of(task, inputs=inputs, targets=targets))
        assert np.isnan(list(found.values())).all()


def test_measuring_leaves_training_alone():
    task = blob_task(MODELS["dropout"])
    plain = run_of(task, budget=Steps(12))
    measured = dataclasses.replace(plain, measurements=(NoiseCovariance(examples=20),))
    without, with_it = (train_run(task, run, torch.device("cpu")).records for run in (plain, measured))
    kept = with_it.filter(with_it["quantity"].is_in(without["quantity"].unique().to_list()))
    assert kept["value"].to_list() == without["value"].to_list()
    assert with_it.filter(with_it["quantity"] == "noise_trace")["step"].max() == 12


def test_one_example_is_refused():
    with pytest.raises(ValueError, match=r"NoiseCovariance\(examples=1\).*at least 2"):
        NoiseCovariance(examples=1)
