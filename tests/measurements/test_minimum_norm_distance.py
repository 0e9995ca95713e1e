"""The distance from the smallest solution: a planted excess, a hand-made case, gradient descent, what has none."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from critbatch.bed import DIGITS
from critbatch.beds import build
from critbatch.measurement import Snapshot
from critbatch.measurements.minimum_norm_distance import MinimumNormDistance
from critbatch.models.linear import linear
from critbatch.models.mlp import mlp

TASK = build(dataclasses.replace(DIGITS, train=16, hidden=(), loss="squared_error", bias=False))


def measured(model: nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> tuple[float, float]:
    found = MinimumNormDistance().measure(
        Snapshot(
            task=TASK, model=model, inputs=inputs, targets=targets, population=len(inputs), batch_size=4,
            learning_rate=0.1, generator=torch.Generator(),
        )
    )  # fmt: skip
    return found["minimum_norm_distance"], found["relative_residual"]


def model_of(weights: torch.Tensor) -> nn.Module:
    model = linear(weights.shape[1], weights.shape[0], bias=False).double()
    with torch.no_grad():
        model[1].weight.copy_(weights)
    return model


def test_two_inputs_and_one_example_by_hand():
    # w1 + w2 = 2: the smallest solution is (1, 1), of norm sqrt(2); (2, 0) fits as well, sqrt(2) away; 0 does not
    inputs, targets = torch.ones(1, 2, dtype=torch.float64), torch.tensor([[2.0]], dtype=torch.float64)
    for weights, distance, residual in (((1.0, 1.0), 0.0, 0.0), ((2.0, 0.0), 1.0, 0.0), ((0.0, 0.0), 1.0, 1.0)):
        found = measured(model_of(torch.tensor([weights], dtype=torch.float64)), inputs, targets)
        assert found == pytest.approx((distance, residual), abs=1e-14)


@pytest.mark.parametrize("excess", [0.0, 1e-6, 0.3])
def test_a_planted_excess_outside_the_span_is_found_and_leaves_no_residual(excess):
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(6, 20, generator=draw, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    wanted = torch.eye(3, dtype=torch.float64)[labels]
    smallest = inputs.T @ torch.linalg.solve(inputs @ inputs.T, wanted)  # the normal equations, not a decomposition
    across = torch.randn(20, 3, generator=draw, dtype=torch.float64)
    across -= inputs.T @ torch.linalg.solve(inputs @ inputs.T, inputs @ across)
    across *= excess * smallest.norm() / across.norm()
    distance, residual = measured(model_of((smallest + across).T), inputs, labels)
    assert distance == pytest.approx(excess, rel=1e-6, abs=1e-12)
    assert residual < 1e-12


def test_examples_that_repeat_and_more_examples_than_inputs_have_a_least_squares_solution():
    inputs = torch.randn(9, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inputs, targets = torch.cat([inputs, inputs]), torch.arange(18.0, dtype=torch.float64)[:, None]
    fitted = torch.linalg.solve(inputs.T @ inputs, inputs.T @ targets)
    distance, residual = measured(model_of(fitted.T), inputs, targets)
    assert distance < 1e-12
    assert residual == pytest.approx(float((inputs @ fitted - targets).norm() / targets.norm()))
    assert residual > 0.1


@pytest.mark.parametrize(("start", "low", "high"), [(0.0, 0.0, 1e-6), (1.0, 1e-2, math.inf)])
def test_gradient_descent_from_zero_ends_there_and_from_elsewhere_not(start, low, high):
    bed = dataclasses.replace(DIGITS, train=16, hidden=(), loss="squared_error", bias=False, start=start)
    task = build(bed)
    model = task.initialise(0).double()
    inputs = task.train.inputs.double()
    optimizer = torch.optim.SGD(model.parameters(), lr=10.0)
    for _ in range(2000):
        optimizer.zero_grad()
        task.losses(model(inputs), task.train.targets).mean().backward()
        optimizer.step()
    distance, residual = measured(model, inputs, task.train.targets)
    assert residual < 1e-6
    assert low <= distance <= high


@pytest.mark.parametrize(
    "model", [linear(64, 10), mlp((64, 8, 10), nn.ReLU), nn.Sequential(nn.Flatten(), nn.Identity())]
)
def test_a_model_of_another_kind_has_no_such_distance(model):
    assert all(math.isnan(one) for one in measured(model, TASK.train.inputs, TASK.train.targets))


def test_targets_of_another_shape_or_of_zeros_have_no_such_distance():
    model, inputs = linear(3, 2, bias=False), torch.ones(4, 3)
    for targets in (torch.ones(4), torch.ones(4, 3), torch.zeros(4, 2)):
        assert all(math.isnan(one) for one in measured(model, inputs, targets))
