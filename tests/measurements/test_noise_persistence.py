"""How much of the noise covariance is left after more training."""

import math

import numpy as np
import pytest
import torch

from critbatch.measurements.noise_persistence import NoisePersistence
from critbatch.measuring import measure_task
from tests.problems import blob_task, small_mlp

TOLD = {"batch_size": 16, "learning_rate": 0.2}


def measured(epochs: int, directions: int = 3, **more) -> dict[str, float]:
    return measure_task(NoisePersistence(epochs=epochs, directions=directions), blob_task(small_mlp, **more), **TOLD)


def test_without_further_training_nothing_has_changed():
    found = measured(0)
    assert found["noise_overlap[later]"] == pytest.approx(1, abs=1e-9)
    assert found["noise_overlap[copies]"] == pytest.approx(1, abs=1e-9)
    assert found["noise_distance[later]"] == found["noise_distance[copies]"] == 0
    assert found["noise_trace_ratio"] == pytest.approx(1, rel=1e-9)
    assert found["noise_overlap_null"] == pytest.approx(3 / 67)


def test_training_changes_it_and_copies_are_nearer_to_each_other_than_to_the_start():
    found = measured(20)
    assert found["noise_overlap[later]"] < found["noise_overlap[copies]"] < 1
    assert found["noise_distance[later]"] > 0
    assert found == measured(20)


def test_overlaps_are_those_of_a_dense_covariance():
    task = blob_task(small_mlp)
    model = task.initialise(0).double()
    inputs, targets = task.train.inputs.double(), task.train.targets

    def leading(one, count: int) -> np.ndarray:
        rows = []
        for index in range(len(inputs)):
            loss = task.losses(one(inputs[index : index + 1]), targets[index : index + 1]).sum()
            rows.append(
                torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(one.parameters()))]).numpy()
            )
        gradients = np.array(rows)
        return np.linalg.eigh(np.cov(gradients.T, bias=True))[1][:, -count:]

    before = leading(model, 3)
    found = measure_task(NoisePersistence(epochs=0, directions=3), task, model=task.initialise(0), **TOLD)
    assert found["noise_overlap[later]"] == pytest.approx(np.sum((before.T @ before) ** 2) / 3, abs=1e-9)


def test_more_directions_than_there_are_have_no_numbers():
    found = measure_task(NoisePersistence(epochs=1, directions=80, examples=90), blob_task(small_mlp), **TOLD)
    assert math.isnan(found["noise_overlap[later]"])


@pytest.mark.parametrize("bad", [{"epochs": -1}, {"directions": 0}, {"directions": 10, "examples": 10}])
def test_it_refuses_what_makes_no_sense(bad):
    with pytest.raises(ValueError, match="NoisePersistence"):
        NoisePersistence(**bad)
