"""What one step does: exact for a quadratic loss, a naive twin, unbiased over all batches, no trace in training."""

import copy
from itertools import combinations

import numpy as np
import pytest
import torch

from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.measurement import Snapshot
from critbatch.measurements.one_step import OneStep
from tests.problems import MODELS, blob_task, regression_task, run_of

RATES = (0.05, 0.4)


def snapshot_of(task, *, count: int = 20, seed: int = 0) -> Snapshot:
    targets = task.train.targets[:count]
    return Snapshot(
        task=task, model=task.initialise(0).double().train(), inputs=task.train.inputs[:count].double(),
        targets=targets.double() if targets.is_floating_point() else targets, population=count, batch_size=4,
        learning_rate=0.1, generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip


def stepped(snapshot: Snapshot, chosen: torch.Tensor, rate: float) -> tuple[float, torch.Tensor]:
    """Return the loss of the whole set after an optimizer's step on some examples, and their gradient."""
    model, losses = copy.deepcopy(snapshot.model), snapshot.task.losses
    kept = copy.deepcopy(dict(model.named_buffers()))
    losses(model(snapshot.inputs[chosen]), snapshot.targets[chosen]).mean().backward()
    gradient = torch.cat([one.grad.flatten() for one in model.parameters()])
    torch.optim.SGD(model.parameters(), lr=rate).step()
    model.load_state_dict(kept, strict=False)
    return whole_loss(snapshot, model), gradient


def whole_loss(snapshot: Snapshot, model: torch.nn.Module) -> float:
    with torch.no_grad():
        return float(snapshot.task.losses(model.eval()(snapshot.inputs), snapshot.targets).mean())


@pytest.mark.parametrize("name", ["mlp", "batch_norm"])
def test_it_is_the_mean_over_batches_of_what_an_optimizer_does(name):
    task = blob_task(MODELS[name])
    one = OneStep((3, 20), RATES, batches=4)
    found = one.measure(snapshot_of(task, seed=5))
    snapshot = snapshot_of(task, seed=5)
    start = whole_loss(snapshot, copy.deepcopy(snapshot.model))
    everyone = torch.arange(20)
    for size, times in ((3, 4), (20, 4 if name == "batch_norm" else 1)):
        batches = [torch.randperm(20, generator=snapshot.generator)[:size] for _ in range(times)]
        for rate in RATES:
            values = []
            for chosen in batches:
                after, gradient = stepped(snapshot, chosen, rate)
                mean = stepped(snapshot, everyone, rate)[1]
                surplus = 0.0 if name == "batch_norm" else float((gradient - mean) @ mean)
                values.append(after - start + rate * surplus)
            assert found[one.change(size, rate)] == pytest.approx(np.mean(values), rel=1e-9)
            error = np.std(values, ddof=1) / times**0.5 if times > 1 else 0.0
            assert found[one.error(size, rate)] == pytest.approx(error, rel=1e-6, abs=1e-15)


def assert_unbiased(mean: float, error: float, *, linear: float, truth: float, smallest_bias: float) -> None:
    """Check the part of a change that is not linear in the rate, by the measurement's own standard error."""
    assert error * 8 <= smallest_bias * abs(truth - linear), "too few batches to see it"
    assert abs(mean - truth) <= 4 * error, f"ratio {(mean - linear) / (truth - linear):.3f}"


def test_on_a_quadratic_loss_it_is_mccandlishs_formula():
    # rate^2/2 (G'HG + tr(H S) (1/B - 1/N)) - rate |G|^2
    task = regression_task()
    snapshot = snapshot_of(task)
    inputs, targets = snapshot.inputs.numpy(), snapshot.targets.numpy()[:, 0]
    gradients = -inputs * targets[:, None]  # of |error|^2/2, where the prediction is 0
    mean, hessian = gradients.mean(0), inputs.T @ inputs / 20
    spread = np.trace(hessian @ np.cov(gradients.T))
    one = OneStep((4, 20), (0.2,), batches=700)
    found = one.measure(snapshot)
    linear, noise = -0.2 * mean @ mean, 0.02 * spread
    exact = linear + 0.02 * mean @ hessian @ mean
    assert found[one.change(20, 0.2)] == pytest.approx(exact, rel=1e-12)
    change, error = found[one.change(4, 0.2)], found[one.error(4, 0.2)]
    assert_unbiased(change, error, linear=linear, truth=exact + noise * (1 / 4 - 1 / 20), smallest_bias=0.4)
    with pytest.raises(AssertionError, match="ratio"):
        assert_unbiased(change, error, linear=linear, truth=exact, smallest_bias=9)  # without the term of the noise


def test_over_all_batches_of_a_small_set_it_is_unbiased():
    task = blob_task()
    snapshot = snapshot_of(task, count=7)
    start = whole_loss(snapshot, copy.deepcopy(snapshot.model))
    subsets = [torch.tensor(one) for one in combinations(range(7), 2)]
    truth = float(np.mean([stepped(snapshot, one, 0.4)[0] - start for one in subsets]))
    gradient = stepped(snapshot, torch.arange(7), 0.4)[1]
    one = OneStep((2,), (0.4,), batches=300)
    found = one.measure(snapshot)
    linear = -0.4 * float(gradient @ gradient)
    assert_unbiased(*found.values(), linear=linear, truth=truth, smallest_bias=0.35)


def test_a_large_set_is_stood_for_by_a_part_and_what_does_not_fit_is_not_known():
    one = OneStep((4, 8, 9), (0.1,), batches=2, examples=8)
    found = one.measure(snapshot_of(blob_task()))
    assert found[one.error(8, 0.1)] == 0
    assert found[one.change(4, 0.1)] < 0
    assert np.isnan(found[one.change(9, 0.1)])


@pytest.mark.parametrize("name", MODELS)
def test_measuring_leaves_training_alone(name):
    task = blob_task(MODELS[name])
    plain = run_of(task, budget=Steps(10))
    watched = run_of(task, budget=Steps(10), measurements=(OneStep((8, 96), (0.1,), batches=2),))
    without, with_it = (train_run(task, run, torch.device("cpu")).records for run in (plain, watched))
    kept = with_it.filter(with_it["quantity"].is_in(without["quantity"].unique().to_list()))
    assert kept["value"].to_list() == without["value"].to_list()
    assert len(with_it) > len(without)


@pytest.mark.parametrize(
    "bad", [{"batch_sizes": ()}, {"batch_sizes": (0,)}, {"learning_rates": (-1.0,)}, {"batches": 1}]
)
def test_what_cannot_be_measured_is_refused(bad):
    with pytest.raises(ValueError, match="batch sizes and learning rates above 0, and at least 2 batches"):
        OneStep(**bad)
