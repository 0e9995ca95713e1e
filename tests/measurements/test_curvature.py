"""The Hessian of a snapshot: its dense twin, planted quadratics, one set and one mode for all, no trace in training."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.measurement import Snapshot
from critbatch.measurements.curvature import LossCurvature
from critbatch.objective import cross_entropy
from tests.minima.matrices import dense_hessian
from tests.problems import MODELS, assert_unbiased, blob_task, regression_task, run_of, zoo_task

ONE = LossCurvature()
CPU = torch.device("cpu")


def snapshot_of(task, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Snapshot:
    inputs = task.train.inputs.to(dtype) if task.train.inputs.is_floating_point() else task.train.inputs
    return Snapshot(
        task=task, model=task.initialise(0).to(dtype).train(), inputs=inputs, targets=task.train.targets,
        population=len(inputs), batch_size=4, learning_rate=0.1, generator=torch.Generator().manual_seed(seed), seed=0,
    )  # fmt: skip


@pytest.mark.parametrize("model", ["mlp", "dropout", "batch_norm"])
def test_it_is_the_spectrum_of_the_dense_hessian_in_evaluation_mode_without_l2(model):
    task = blob_task(MODELS[model], l2=0.5)
    snapshot = snapshot_of(task)
    truth = dense_hessian(snapshot.model.eval(), cross_entropy, snapshot.inputs[:40], snapshot.targets[:40])
    values = torch.linalg.eigvalsh(truth).numpy()
    # 20 draws: a bias of half the trace would show, and intervals that cover less than 0.8
    some = LossCurvature(examples=40, trace_products=90)
    draws = [some.measure(snapshot_of(task, seed=seed)) for seed in range(20)]
    found = {name: np.array([one[name] for one in draws]) for name in ONE.quantities}
    np.testing.assert_allclose(found["hessian_largest_eigenvalue"], values[-1], rtol=1e-5)
    assert (found["hessian_largest_residual"] <= 1e-3 * values[-1]).all()
    for name, wanted in (("trace", values.sum()), ("squared_norm", (values**2).sum())):
        inside = np.abs(found[f"hessian_{name}"] - wanted) <= found[f"hessian_{name}_error"]
        assert inside.mean() >= 0.8
        assert_unbiased(found[f"hessian_{name}"], wanted, smallest_bias=0.5)
    assert (found["hessian_is_exact"] == 1).all()


def test_of_linear_regression_it_is_the_covariance_of_the_inputs_wherever_the_weights_are():
    snapshot = snapshot_of(regression_task())
    covariance = (snapshot.inputs.T @ snapshot.inputs / len(snapshot.inputs)).numpy()
    for _ in range(2):
        found = ONE.measure(snapshot)
        assert found["hessian_largest_eigenvalue"] == pytest.approx(np.linalg.eigvalsh(covariance)[-1], rel=1e-9)
        assert found["hessian_trace"] == pytest.approx(np.trace(covariance), rel=1e-9), "Hutch++ spans all of it"
        assert found["hessian_squared_norm"] == pytest.approx((covariance**2).sum(), rel=1e-9)
        with torch.no_grad():
            snapshot.model.weight.add_(3.0)


def test_the_batch_size_of_training_has_no_say():
    task = blob_task()
    ends = [
        train_run(task, run_of(task, batch_size=size, budget=Steps(1), measurements=(ONE,)), CPU).records
        for size in (4, 96)
    ]
    first = [one.filter((one["step"] == 0) & one["quantity"].str.starts_with("hessian"))["value"] for one in ends]
    assert len(first[0]) == len(ONE.quantities)
    assert first[0].to_list() == first[1].to_list()


def test_products_are_counted():
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside, self.scale = nn.Linear(4, 3), nn.Parameter(torch.ones(3))

        def forward(self, inputs):
            return self.inside(inputs) * self.scale

    found = LossCurvature(steps=5, trace_products=9).measure(snapshot_of(blob_task(Counting)))
    assert 10 <= found["hessian_products"] <= 14


@pytest.mark.parametrize("name", ["lstm", "gru", "encoder layer", "transformer", "frozen", "wide cnn", "branched"])
def test_models_of_many_kinds_have_one(name):
    found = ONE.measure(snapshot_of(zoo_task(name), dtype=torch.float32))
    assert all(math.isfinite(value) for value in found.values())
    assert found["hessian_is_exact"] == 1
    assert found["hessian_largest_eigenvalue"] > 0


def test_a_run_that_has_diverged_has_none():
    snapshot = snapshot_of(blob_task())
    with torch.no_grad():
        next(snapshot.model.parameters()).fill_(torch.nan)
    found = ONE.measure(snapshot)
    numbers = {name for name in found if name not in ("hessian_products", "hessian_is_exact")}
    assert all(math.isnan(found[name]) for name in numbers)


@pytest.mark.parametrize("name", MODELS)
def test_measuring_leaves_training_alone(name):
    task = blob_task(MODELS[name])
    some = LossCurvature(steps=3, trace_products=4)
    results = [train_run(task, run_of(task, measurements=measured), CPU).records for measured in ((), (some,))]
    kept = results[1].filter(results[1]["quantity"].is_in(results[0]["quantity"].unique().to_list()))
    assert kept["value"].to_list() == results[0]["value"].to_list()
    assert len(results[1]) > len(kept)


@pytest.mark.parametrize("bad", [{"examples": 0}, {"steps": 0}, {"trace_products": 3}])
def test_what_cannot_be_measured_is_refused(bad):
    with pytest.raises(ValueError, match="give at least 1 example, 1 step and 4 products"):
        LossCurvature(**bad)
