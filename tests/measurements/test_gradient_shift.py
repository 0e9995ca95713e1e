"""Gradient shift: a product of two numbers, a naive twin, all single examples, and training left alone."""

import copy
import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.engine.sequential import train_run
from critbatch.measurement import Snapshot
from critbatch.measurements.gradient_shift import GradientShift
from critbatch.objective import squared_error
from critbatch.task import Task
from tests.problems import MODELS, assert_unbiased, blob_task, run_of

RATE, RUN_SIZE = 0.3, 8


class Product(nn.Module):
    """a b x: two layers of one number."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.constant_(self.first.weight, 0.8)
        nn.init.constant_(self.second.weight, 1.5)

    def forward(self, inputs):
        return self.second(self.first(inputs))


def deep_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def snapshot_of(task: Task, seed: int = 0) -> Snapshot:
    part, model = task.train, task.initialise(0)
    draw = torch.Generator().manual_seed(seed)
    return Snapshot(task, model, part.inputs, part.targets, len(part), RUN_SIZE, RATE, draw)


@pytest.mark.parametrize("size", [1, 4, 16])
def test_a_product_of_two_numbers_has_the_shift_that_algebra_gives(size):
    data = (torch.ones(16, 1), torch.zeros(16, 1))
    task = Task(name="product", model=Product, train=data, test=data, loss=squared_error, metric=None)
    found = GradientShift(batch_sizes=(size,)).measure(snapshot_of(task))
    a, b = (float(np.float32(one)) for one in (0.8, 1.5))
    for step, rate in (("rate", RATE), ("length", RATE), ("linear", RATE * size / RUN_SIZE)):
        moved_a, moved_b = a - rate * a * b**2, b - rate * a**2 * b
        losses = [one**2 * other**2 / 2 for one, other in ((a, b), (moved_a, moved_b), (moved_a, b), (a, moved_b))]
        change, *alone = (one - losses[0] for one in losses[1:])
        end = f"[B={size},step={step}]"
        assert found[f"gradient_shift{end}"] == pytest.approx(abs(moved_a**2 - a**2) / a**2, rel=1e-9)
        assert found[f"gradient_shift_cosine{end}"] == pytest.approx(1, rel=1e-9)
        assert found[f"step_progress{end}"] == pytest.approx(-change, rel=1e-9)
        assert found[f"interaction{end}"] == pytest.approx(change - sum(alone), rel=1e-9)
        assert found[f"nonadditivity{end}"] == pytest.approx((change - sum(alone)) / abs(change), rel=1e-9)
    gradient = np.array([a * b**2, a**2 * b])
    participation = (gradient**2).sum() ** 2 / (2 * (gradient**4).sum())
    assert found[f"update_participation[B={size}]"] == pytest.approx(participation, rel=1e-9)
    assert found[f"update_coverage[B={size}]"] == 1


def gradients(model: nn.Sequential, task: Task, inputs: torch.Tensor, targets: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    task.losses(model(inputs), targets).mean().backward()
    layers = [module for module in model if isinstance(module, nn.Linear)]
    return [torch.cat([layer.weight.grad.flatten(), layer.bias.grad]) for layer in layers]


def stepped(model: nn.Sequential, moves: list[torch.Tensor], which: list[int]) -> nn.Sequential:
    other = copy.deepcopy(model)
    layers = [module for module in other if isinstance(module, nn.Linear)]
    with torch.no_grad():
        for index in which:
            layer, move = layers[index], moves[index]
            layer.weight.add_(move[: layer.weight.numel()].view_as(layer.weight))
            layer.bias.add_(move[layer.weight.numel() :])
    return other


def test_it_agrees_with_copies_of_the_network_moved_layer_by_layer():
    task = blob_task(deep_mlp)
    size, batches = 5, 3
    found = GradientShift(batch_sizes=(size,), batches=batches, examples=40).measure(snapshot_of(task))
    model = task.initialise(0).double()
    inputs, targets = task.train.inputs.double(), task.train.targets
    draw = torch.Generator().manual_seed(0)
    orders = [torch.randperm(96, generator=draw) for _ in range(batches + 1)]
    held = orders.pop()[:40]

    def loss(one: nn.Sequential) -> float:
        return float(task.losses(one(inputs[held]), targets[held]).mean().detach())

    length = RATE * float(torch.cat(gradients(model, task, inputs[held], targets[held])).norm())
    seen: dict[str, list[float]] = {}
    for order in orders:
        data = (inputs[order[:size]], targets[order[:size]])
        start = gradients(model, task, *data)
        whole = torch.cat(start)
        seen.setdefault("update_coverage", []).append(int((whole != 0).sum()) / len(whole))
        rates = {"rate": RATE, "linear": RATE * size / RUN_SIZE, "length": length / float(whole.norm())}
        for step, rate in rates.items():
            moves = [-rate * one for one in start]
            shifts = []
            for layer in (1, 2):
                after = gradients(stepped(model, moves, list(range(layer))), task, *data)[layer]
                shifts.append(float((after - start[layer]).norm() / start[layer].norm()))
            change = loss(stepped(model, moves, [0, 1, 2])) - loss(model)
            alone = sum(loss(stepped(model, moves, [layer])) - loss(model) for layer in range(3))
            for name, value in (("gradient_shift", np.mean(shifts)), ("step_progress", -change),
                                ("interaction", change - alone)):  # fmt: skip
                seen.setdefault(f"{name}[{step}", []).append(float(value))
    assert found[f"update_coverage[B={size}]"] == pytest.approx(np.mean(seen.pop("update_coverage")), rel=1e-9)
    assert found[f"update_coverage[B={size}]"] < 1
    for name, values in seen.items():
        kind, step = name.split("[")
        assert found[f"{kind}[B={size},step={step}]"] == pytest.approx(np.mean(values), rel=1e-8, abs=1e-13)


def test_its_means_over_batches_are_those_over_all_batches():
    task = blob_task()
    measurement, name = GradientShift(batch_sizes=(1,), batches=4, examples=8), "gradient_shift[B=1,step=rate]"
    whole = snapshot_of(task)
    alone = [dataclasses.replace(snapshot_of(task), inputs=whole.inputs[[index]], targets=whole.targets[[index]])
             for index in range(96)]  # fmt: skip
    truth = float(np.mean([measurement.measure(one)[name] for one in alone]))
    draws = np.array([measurement.measure(snapshot_of(task, seed))[name] for seed in range(40)])
    assert_unbiased(draws, truth, smallest_bias=0.4)


def test_a_larger_batch_reaches_more_weights_and_the_whole_set_needs_one_batch():
    found = GradientShift(batch_sizes=(1, 8, 96), batches=8).measure(snapshot_of(blob_task(deep_mlp)))
    assert found["update_coverage[B=1]"] < found["update_coverage[B=8]"] < found["update_coverage[B=96]"]
    again = GradientShift(batch_sizes=(96,), batches=3).measure(snapshot_of(blob_task(deep_mlp), seed=5))
    assert again["step_progress[B=96,step=rate]"] == pytest.approx(found["step_progress[B=96,step=rate]"], rel=1e-9)


@pytest.mark.parametrize(("model", "shifts"), [("batch_norm", True), ("dropout", True), ("one layer", False)])
def test_other_networks(model, shifts):
    task = blob_task(MODELS.get(model, lambda: nn.Linear(4, 3)))
    measurement = GradientShift(batch_sizes=(8, 97))
    found, again = (measurement.measure(snapshot_of(task)) for _ in range(2))
    assert math.isfinite(found["gradient_shift[B=8,step=rate]"]) == shifts
    assert found["step_progress[B=8,step=length]"] == again["step_progress[B=8,step=length]"]
    assert math.isnan(found["step_progress[B=97,step=rate]"])
    if not shifts:
        assert abs(found["interaction[B=8,step=rate]"]) < 1e-15


def test_measuring_leaves_training_alone():
    task = blob_task()
    plain, measured = (
        train_run(task, run_of(task, measurements=measurements), torch.device("cpu")).records
        for measurements in ((), (GradientShift(batches=2),))
    )
    losses = [one.filter(one["quantity"] == "test_loss")["value"].to_list() for one in (plain, measured)]
    assert losses[0] == losses[1]
