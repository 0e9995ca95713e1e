"""The scatter of mini-batch gradients: the law of sampling without replacement, a naive twin, no trace in training."""

import numpy as np
import pytest
import torch

from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.measurement import Snapshot
from critbatch.measurements.update_covariance import UpdateCovariance
from tests.problems import MODELS, assert_unbiased, blob_task, run_of

COUNT = 24


def snapshot_of(task, *, seed: int = 0, count: int = COUNT) -> Snapshot:
    inputs, targets = task.train.inputs[:count].double(), task.train.targets[:count]
    return Snapshot(
        task=task, model=task.initialise(0).double().train(), inputs=inputs, targets=targets, population=count,
        batch_size=4, learning_rate=0.1, generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip


def single_gradients(task) -> np.ndarray:
    """Return every example's gradient by backward(), one at a time."""
    snapshot = snapshot_of(task)
    rows = []
    for one in range(COUNT):
        snapshot.model.zero_grad()
        outputs = snapshot.model(snapshot.inputs[one : one + 1])
        torch.nn.functional.cross_entropy(outputs, snapshot.targets[one : one + 1]).backward()
        rows.append(np.concatenate([one.grad.numpy().ravel() for one in snapshot.model.parameters()]))
    return np.array(rows)


def naive(gradients: np.ndarray, size: int, batches: int, generator: torch.Generator) -> float:
    """Return the textbook sample variance, summed over parameters, of means of random subsets."""
    means = [gradients[torch.randperm(COUNT, generator=generator)[:size].numpy()].mean(0) for _ in range(batches)]
    return float(np.var(means, axis=0, ddof=1).sum())


@pytest.mark.parametrize("size", [1, 4, 23])
def test_it_is_the_sample_variance_of_subset_means(size):
    task = blob_task()
    ours = UpdateCovariance(batch_sizes=(size,), batches=7).measure(snapshot_of(task, seed=3))
    twin = naive(single_gradients(task), size, 7, torch.Generator().manual_seed(3))
    assert ours[f"gradient_variance[B={size}]"] == pytest.approx(twin, rel=1e-9)


@pytest.mark.parametrize("size", [2, 12])
def test_it_is_unbiased_for_the_law_of_sampling_without_replacement(size):
    # sees a bias of 25%: divisor K instead of K - 1 is off by as much, the law without its 1/N by all of it at 12
    task = blob_task()
    gradients = single_gradients(task)
    truth = float(gradients.var(axis=0, ddof=1).sum()) * (1 / size - 1 / COUNT)
    one = UpdateCovariance(batch_sizes=(size,), batches=4)
    snapshot = snapshot_of(task)
    draws = np.array([one.measure(snapshot)[one.quantity(size)] for _ in range(300)])
    assert_unbiased(draws, truth, smallest_bias=0.25)


def test_the_whole_set_does_not_scatter_and_more_than_the_set_is_not_known():
    found = UpdateCovariance(batch_sizes=(1, COUNT, COUNT + 1), batches=3).measure(snapshot_of(blob_task()))
    assert found["gradient_variance[B=24]"] == pytest.approx(0, abs=1e-12 * found["gradient_variance[B=1]"])
    assert np.isnan(found["gradient_variance[B=25]"])


@pytest.mark.parametrize("name", MODELS)
def test_measuring_leaves_training_alone(name):
    task = blob_task(MODELS[name])
    plain = run_of(task, budget=Steps(10))
    watched = run_of(task, budget=Steps(10), measurements=(UpdateCovariance((8, 16), batches=3),))
    without, with_it = (train_run(task, run, torch.device("cpu")).records for run in (plain, watched))
    kept = with_it.filter(with_it["quantity"].is_in(without["quantity"].unique().to_list()))
    assert kept["value"].to_list() == without["value"].to_list()
    assert len(with_it) > len(without)


@pytest.mark.parametrize("bad", [{"batch_sizes": ()}, {"batch_sizes": (0, 4)}, {"batches": 1}])
def test_what_cannot_be_measured_is_refused(bad):
    with pytest.raises(ValueError, match="give batch sizes of at least 1, and at least 2 batches"):
        UpdateCovariance(**bad)
