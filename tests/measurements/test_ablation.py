"""The ablation curve: a network with one unit that matters, a twin that cuts weights, and its expectation."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.measurements.ablation import Ablation
from critbatch.task import Task
from tests.problems import assert_unbiased, blob_task

from .test_hidden_units import snapshot_of


def one_that_matters() -> nn.Sequential:
    """Return a network that tells 1 from 0 by one of eight units, and answers 0 without it."""
    model = nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight[:], model[0].bias[:] = 1.0, 0.0
        model[2].weight[:], model[2].bias[:] = 0.0, torch.tensor([0.0, -1.0])
        model[2].weight[1, 5] = 2.0
    return model


def bit_task() -> Task:
    bits = torch.tensor([0, 1] * 20)
    return Task(
        name="bits", model=one_that_matters, train=(bits[:, None].float(), bits), test=(bits[:, None].float(), bits)
    )


def test_the_area_is_unbiased_for_all_orders():
    # Accuracy is 1 with the unit and 1/2 without it; it is there with probability 1 - share. Sees a bias of 10%.
    task = bit_task()
    snapshot = snapshot_of(task)
    draws = np.array([Ablation(shares=2, draws=4).measure(snapshot)["ablation_area"] for _ in range(50)])
    assert_unbiased(draws, 0.75, smallest_bias=0.1)


@pytest.mark.parametrize("place", range(8))
def test_the_area_of_one_order(place):
    """The unit that goes as the k-th leaves after k - 1 eighths: the curve falls from 1 to 1/2 over the next eighth."""
    task = bit_task()
    seed = next(
        one for one in range(200) if int((torch.randperm(8, generator=torch.Generator().manual_seed(one)) == 5).nonzero()) == place
    )  # fmt: skip
    snapshot = snapshot_of(task, generator=torch.Generator().manual_seed(seed))
    area = Ablation(draws=1).measure(snapshot)["ablation_area"]
    assert area == pytest.approx(0.5 + 0.5 * (place + 0.5) / 8, rel=1e-12)


def naive(model: nn.Sequential, task: Task, shares: int, orders: list[torch.Tensor]) -> float:
    """Return the area with weights out of the units cut, in a model with hidden layers of 6 and 3 rectified units."""
    areas = []
    for order in orders:
        curve = []
        for step in range(shares + 1):
            cut = copy.deepcopy(model)
            for unit in order[: round(9 * step / shares)].tolist():
                with torch.no_grad():
                    (cut[2].weight[:, unit] if unit < 6 else cut[4].weight[:, unit - 6]).zero_()
            answers = cut(task.validation.inputs).argmax(1)
            curve.append((round(9 * step / shares) / 9, (answers == task.validation.targets).double().mean().item()))
        areas.append(sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(curve)))
    return float(np.mean(areas))


@pytest.mark.parametrize("shares", [1, 4, 20])
def test_it_is_the_naive_area(shares):
    task = blob_task(lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 3)))
    model = task.initialise(2)
    snapshot = snapshot_of(task, model=model, generator=torch.Generator().manual_seed(4))
    found = Ablation(shares=shares, draws=3).measure(snapshot)["ablation_area"]
    draw = torch.Generator().manual_seed(4)
    orders = [torch.randperm(9, generator=draw) for _ in range(3)]
    assert found == pytest.approx(naive(model.eval(), task, shares, orders), rel=1e-12)
