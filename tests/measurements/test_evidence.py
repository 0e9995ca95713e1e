"""The evidence at a snapshot: logistic regression beside its dense twin, which prior, which losses, no trace in training."""

import functools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.measurement import Snapshot
from critbatch.measurements.evidence import BayesianEvidence
from critbatch.objective import cross_entropy
from tests.minima.matrices import dense_hessian
from tests.problems import blob_task, regression_task, run_of

ONE = BayesianEvidence()
CPU = torch.device("cpu")


def logistic() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 3))


def snapshot_of(task) -> Snapshot:
    return Snapshot(
        task=task, model=task.initialise(0).train(), inputs=task.train.inputs, targets=task.train.targets,
        population=len(task.train), batch_size=4, learning_rate=0.1, generator=torch.Generator(), seed=0,
    )  # fmt: skip


@pytest.mark.parametrize(("l2", "precision", "wanted"), [(0.25, 1.0, 24.0), (0.0, 1.0, 1.0), (0.0, 3.0, 3.0)])
def test_it_is_the_dense_sum_over_the_training_set_with_the_tasks_prior(l2, precision, wanted):
    task = blob_task(logistic, l2=l2)
    snapshot = snapshot_of(task)
    model, inputs = task.initialise(0).double(), task.train.inputs.double()
    hessian = 96 * dense_hessian(model, cross_entropy, inputs, task.train.targets) + wanted * torch.eye(15)
    weights = torch.cat([one.detach().flatten() for one in model.parameters()])
    loss = float(torch.nn.functional.cross_entropy(model(inputs).detach(), task.train.targets, reduction="sum"))
    found = BayesianEvidence(precision=precision).measure(snapshot)
    cost, occam = loss + wanted / 2 * float(weights @ weights), float(torch.logdet(hessian / wanted)) / 2
    assert found["evidence_cost"] == pytest.approx(cost, rel=1e-10)
    assert found["evidence_occam"] == pytest.approx(occam, rel=1e-8)
    assert found["log_evidence_ratio"] == pytest.approx(96 * math.log(3) - cost - occam, rel=1e-8)
    assert found["evidence_clamped"] == 0, "cross-entropy of a linear model is convex"


def test_training_finishes_what_was_unfinished_and_earns_evidence():
    task = blob_task(logistic, l2=0.02)
    run = run_of(task, batch_size=96, learning_rate=0.5, budget=Steps(300), measurements=(ONE,))
    records = train_run(task, run, CPU).records
    unfinished, ratio = (
        records.filter(records["quantity"] == name)["value"].to_list()
        for name in ("evidence_unfinished", "log_evidence_ratio")
    )
    assert unfinished[0] > 1 > 0.01 > unfinished[-1]
    assert ratio[-1] > max(0, ratio[0])


def test_what_has_no_evidence_is_not_a_number():
    regression = ONE.measure(snapshot_of(regression_task()))
    assert math.isnan(regression["log_evidence_ratio"])
    assert math.isfinite(regression["evidence_occam"])
    wide = blob_task(lambda: nn.Sequential(nn.Linear(4, 600), nn.Linear(600, 3)))
    assert all(math.isnan(one) for one in ONE.measure(snapshot_of(wide)).values())
    diverged = snapshot_of(blob_task())
    with torch.no_grad():
        next(diverged.model.parameters()).fill_(torch.nan)
    assert math.isnan(ONE.measure(diverged)["log_evidence_ratio"])


def test_measuring_leaves_training_alone():
    task = blob_task()
    results = [train_run(task, run_of(task, measurements=measured), CPU).records for measured in ((), (ONE,))]
    kept = results[1].filter(results[1]["quantity"].is_in(results[0]["quantity"].unique().to_list()))
    assert kept["value"].to_list() == results[0]["value"].to_list()
    assert len(results[1]) > len(kept)


@pytest.mark.parametrize("precision", [0.0, -1.0, math.inf])
def test_a_prior_that_is_none_is_refused(precision):
    with pytest.raises(ValueError, match="must be above 0 and finite"):
        BayesianEvidence(precision=precision)


def test_a_cross_entropy_that_is_wrapped_is_told_by_what_it_makes_of_examples():
    def smoothed(outputs, targets, smoothing):
        return functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=smoothing)

    plain, wrapped, other = (
        ONE.measure(snapshot_of(blob_task(logistic, l2=0.25, loss=loss)))["log_evidence_ratio"]
        for loss in (
            "cross_entropy",
            functools.partial(smoothed, smoothing=0.0),
            functools.partial(smoothed, smoothing=0.1),
        )
    )
    assert wrapped == pytest.approx(plain, rel=1e-12)
    assert math.isnan(other), "smoothed labels have another null model"
