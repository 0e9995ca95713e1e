"""Likeness of units: planted duplicates, dead units and specialists, and a twin by loops."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.measurements.redundant_units import RedundantUnits, class_selectivity, live_units, pairs
from critbatch.task import Task
from tests.problems import blob_task, regression_task

from .test_hidden_units import snapshot_of


def relu_task() -> Task:
    return blob_task(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)))


def test_planted_duplicates_and_a_dead_unit():
    task = relu_task()
    model = task.initialise(0)
    with torch.no_grad():
        model[0].weight[:] = torch.eye(4)[[0, 0, 1, 2, 3]]
        model[0].weight[1] *= 3  # a copy up to scale
        model[0].bias[:] = torch.tensor([0.0, 0.0, 0.0, 0.0, -100.0])
    found = RedundantUnits().measure(snapshot_of(task, model=model))
    assert found["dead_share"] == pytest.approx(1 / 5)
    assert found["duplicate_share"] == pytest.approx(1 / 6)  # of the pairs of four live units
    assert found["weight_cosine"] == pytest.approx(1 / 10)


def naive(model: nn.Sequential, inputs: np.ndarray, labels: np.ndarray) -> list[float]:
    """Return the quantities of a network with one hidden layer, pair by pair and unit by unit."""
    weights = model[0].weight.detach().numpy().astype(float)
    outputs = np.maximum(inputs @ weights.T + model[0].bias.detach().numpy(), 0)
    cosines = [abs(a @ b) / np.sqrt((a @ a) * (b @ b)) for a, b in itertools.combinations(weights, 2)]
    live = [unit for unit in outputs.T if unit.std() > 0]
    likeness = [abs(np.corrcoef(a, b)[0, 1]) for a, b in itertools.combinations(live, 2)]
    selectivity = []
    for unit in live:
        means = sorted(unit[labels == one].mean() for one in set(labels))
        others = np.mean(means[:-1])
        selectivity.append((means[-1] - others) / (means[-1] + others))
    duplicates = [one > 0.9 for one in likeness]
    return [*map(np.mean, (cosines, likeness, duplicates)), 1 - len(live) / outputs.shape[1], np.mean(selectivity)]


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_loops_find(seed):
    task = relu_task()
    model = task.initialise(seed).double()
    with torch.no_grad():
        model[0].bias[1] = -100
        model[0].weight[3] = model[0].weight[2] + 0.05
    found = RedundantUnits().measure(snapshot_of(task, model=model))
    expected = naive(model, task.validation.inputs.double().numpy(), task.validation.targets.numpy())
    assert list(found) == list(RedundantUnits().quantities)
    assert list(found.values()) == pytest.approx(expected, rel=1e-10)
    assert expected[2] > 0


def test_known_selectivities():
    labels = torch.tensor([0, 0, 1, 2])
    one_class, all_alike, signed = [1.0, 3.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [-2.0, 2.0, -1.0, 0.0]
    for unit, expected in ((one_class, 1.0), (all_alike, 0.0), (signed, (2 - 0.5) / (2 + 0.5))):
        assert class_selectivity(torch.tensor(unit)[:, None], labels) == pytest.approx(expected)
    assert np.isnan(class_selectivity(torch.ones(4, 1), torch.zeros(4, dtype=torch.int64)))
    assert np.isnan(class_selectivity(torch.ones(4, 0), labels))


def test_a_unit_is_live_if_it_ever_changes():
    outputs = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 2.0], [1e-9, 1.0, 2.1]])
    assert live_units(outputs).tolist() == [True, False, True]


def test_known_cosines():
    columns = torch.tensor([[1.0, -2.0, 0.0], [0.0, 0.0, 5.0]])
    assert pairs(columns).tolist() == [1, 0, 0]
    assert len(pairs(columns[:, :1])) == 0


def test_targets_that_are_no_classes_have_no_selectivity():
    task = regression_task()
    layers = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
    found = RedundantUnits().measure(snapshot_of(task, model=layers))
    assert np.isnan(found.pop("class_selectivity"))
    assert np.isfinite(list(found.values())).all()
