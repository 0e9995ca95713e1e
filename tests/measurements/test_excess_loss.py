"""Excess over the optimum: closed form for least squares, Newton's method for logistic regression, no trace in training."""

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.measurement import Snapshot
from critbatch.measurements.excess_loss import ExcessLoss
from critbatch.task import Task
from tests.problems import MODELS, blob_task, blobs, run_of

L2 = 0.05


def logistic() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


def snapshot_of(task, *, seed: int = 0, model: nn.Module | None = None) -> Snapshot:
    return Snapshot(
        task=task, model=(model or task.initialise(seed)).train(), inputs=task.train.inputs,
        targets=task.train.targets, population=len(task.train), batch_size=4, learning_rate=0.1,
        generator=torch.Generator().manual_seed(0), seed=seed,
    )  # fmt: skip


def ridge_task() -> tuple[Task, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    inputs, targets = draw.normal(size=(60, 3)), draw.normal(size=(60, 1))
    task = Task(
        name="ridge", model=lambda: nn.Sequential(nn.Linear(3, 1)), train=(inputs, targets), test=(inputs, targets),
        loss="squared_error", metric="squared_error", l2=L2,
    )  # fmt: skip
    return task, np.hstack([inputs, np.ones((60, 1))]).astype(np.float32).astype(float), targets.astype(np.float32)


def test_on_a_quadratic_the_excess_is_half_the_squared_distance_in_the_hessian():
    task, design, targets = ridge_task()
    hessian = design.T @ design / 60 + L2 * np.eye(4)
    optimum = np.linalg.solve(hessian, design.T @ targets[:, 0] / 60)
    for seed in (0, 1):
        model = task.initialise(seed)
        here = np.append(model[0].weight.detach().numpy().ravel(), model[0].bias.detach().numpy()).astype(float)
        truth = 0.5 * (here - optimum) @ hessian @ (here - optimum)
        found = ExcessLoss().measure(snapshot_of(task, seed=seed))
        assert found["excess_objective"] == pytest.approx(truth, rel=1e-9)
        least = 0.5 * ((design @ optimum - targets[:, 0]) ** 2).mean() + L2 / 2 * optimum @ optimum
        assert found["best_objective"] == pytest.approx(least, rel=1e-9)


def newton(inputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the least L2-penalised cross-entropy by full Newton steps on the (5 x 3) table of weights."""
    design, wanted = np.hstack([inputs, np.ones((len(inputs), 1))]), np.eye(3)[labels]
    weights = np.zeros((5, 3))

    def objective() -> float:
        logits = design @ weights
        chosen = (logits * wanted).sum(1) - np.log(np.exp(logits).sum(1))
        return -chosen.mean() + L2 / 2 * (weights**2).sum()

    for _ in range(30):
        logits = design @ weights
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        gradient = design.T @ (shares - wanted) / len(design) + L2 * weights
        hessian = L2 * np.eye(15)
        for row, share in zip(design, shares, strict=True):
            hessian += np.kron(np.outer(row, row), np.diag(share) - np.outer(share, share)) / len(design)
        weights = weights - np.linalg.solve(hessian, gradient.ravel()).reshape(5, 3)
    return objective()


def test_the_optimum_of_logistic_regression_is_newtons_and_the_same_for_every_seed():
    task = blob_task(logistic, l2=L2)
    truth = newton(task.train.inputs.double().numpy(), task.train.targets.numpy())
    found = [ExcessLoss().measure(snapshot_of(task, seed=seed)) for seed in (0, 3)]
    assert [one["best_objective"] for one in found] == [pytest.approx(truth, rel=1e-10)] * 2
    assert all(one["excess_objective"] > 0.01 for one in found)


def test_training_brings_the_excess_to_nothing():
    task = blob_task(logistic, l2=L2)
    run = run_of(task, batch_size=96, learning_rate=0.5, budget=Steps(400), measurements=(ExcessLoss(),))
    records = train_run(task, run, torch.device("cpu")).records
    excess = records.filter(records["quantity"] == "excess_objective")["value"].to_numpy()
    assert -1e-9 < excess[-1] < 1e-6 < excess[0]
    assert records.filter(records["quantity"] == "excess_objective")["step"].to_list()[-1] == 400


def test_of_a_network_it_is_the_best_that_was_found_from_the_runs_own_start():
    task = blob_task(l2=L2)
    found = [ExcessLoss().measure(snapshot_of(task, seed=seed)) for seed in (0, 1)]
    assert found[0]["best_objective"] != found[1]["best_objective"]
    assert all(one["excess_objective"] > 0 for one in found)
    few = ExcessLoss(most_iterations=2).measure(snapshot_of(task))
    assert few["best_objective"] > found[0]["best_objective"]


def test_a_linear_layer_between_others_is_not_taken_for_a_convex_problem():
    def squashed() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 3), nn.Tanh())

    task = blob_task(squashed)
    found = [ExcessLoss(most_iterations=1).measure(snapshot_of(task, seed=seed)) for seed in (0, 1)]
    assert found[0]["best_objective"] != found[1]["best_objective"]


@pytest.mark.parametrize("name", MODELS)
def test_measuring_leaves_training_alone(name):
    task = Task(name="blobs", model=MODELS[name], train=blobs(96, 0), test=blobs(300, 1), l2=0.01)
    ends = [
        train_run(task, run_of(task, budget=Steps(12), measurements=some), torch.device("cpu")).records
        for some in ((), (ExcessLoss(most_iterations=5),))
    ]
    plain, measured = (one.filter(one["quantity"] == "test_loss")["value"].to_list() for one in ends)
    assert plain == measured
