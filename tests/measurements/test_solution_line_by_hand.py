"""The line to another solution beside a training and a walk by hand, and on a parabola whose widths are known."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.measurements.solution_line import SolutionLine
from critbatch.minima.lines import POSITIONS
from critbatch.minima.rescaling import rescaled
from critbatch.optimizers.adam import Adam
from critbatch.task import Task
from tests.problems import MODELS, blob_task, norm_mlp, run_of, small_mlp, zero_linear

from .test_hidden_units import snapshot_of

FEW = {"batch_size": 10, "learning_rate": 0.2, "epochs": 3, "examples": 50, "directions": 1}


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained(
    task, generator: torch.Generator, *, size: int, rate: float, epochs: int, adam: bool = False, l2: float = 0.0
):
    """Train by hand on all examples that fill a batch, and return the model."""
    model = task.initialise(0).train()
    optimizer = (torch.optim.Adam if adam else torch.optim.SGD)(model.parameters(), lr=rate)
    inputs, targets = task.train.inputs, task.train.targets
    for _ in range(epochs):
        order = torch.randperm(len(inputs), generator=generator)
        for step in range(len(inputs) // size):
            chosen = order[step * size : (step + 1) * size]
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(inputs[chosen]), targets[chosen])
            for one in model.parameters():
                loss = loss + l2 / 2 * (one**2).sum()
            loss.backward()
            optimizer.step()
    return model.eval()


def mixed_losses(task, other: nn.Module, here: nn.Module, count: int) -> np.ndarray:
    """Return the mean loss of the first examples at each position, all parameters mixed by name."""
    mixture, ends = small_mlp(), [one.state_dict() for one in (other, here)]
    found = []
    for alpha in np.linspace(-1, 2, 25):
        mixture.load_state_dict({name: (1 - alpha) * ends[0][name] + alpha * ends[1][name] for name in ends[0]})
        outputs = mixture(task.train.inputs[:count]).detach()
        found.append(float(functional.cross_entropy(outputs, task.train.targets[:count])))
    return np.array(found)


def walked(positions: np.ndarray, losses: np.ndarray, start: int, step: int) -> float:
    """Return where a walk from position `start` first comes to twice the loss plus 0.1."""
    limit, place = 2 * losses[start] + 0.1, start
    while 0 <= place + step < len(losses):
        after = place + step
        if losses[after] >= limit:
            share = (limit - losses[place]) / (losses[after] - losses[place])
            return positions[place] + share * (positions[after] - positions[place])
        place = after
    return positions[place]


@pytest.mark.parametrize(("adam", "l2"), [(False, 0.0), (False, 0.1), (True, 0.0)])
def test_it_is_the_loss_of_mixed_weights_of_the_run_and_a_training_by_hand(adam, l2):
    task = blob_task(l2=l2)
    rate = 0.03 if adam else 0.2
    here = trained(task, draws(9), size=96, rate=0.3, epochs=40)
    other = trained(task, draws(4), size=10, rate=rate, epochs=3, adam=adam, l2=l2)
    measurement = SolutionLine(**FEW | {"learning_rate": rate}, optimizer=Adam() if adam else None)
    found = measurement.measure(snapshot_of(task, model=here, generator=draws(4)))
    losses, positions = mixed_losses(task, other, here, 50), np.linspace(-1, 2, 25)
    assert list(found) == list(measurement.quantities)
    np.testing.assert_allclose([found[f"line_loss[{one:g}]"] for one in POSITIONS], losses, rtol=1e-4)
    left, right = ([walked(positions, losses, start, step) for step in (-1, 1)] for start in (8, 16))
    assert found["line_width[other]"] == pytest.approx(left[1] - left[0], rel=1e-3)
    assert found["line_width[here]"] == pytest.approx(right[1] - right[0], rel=1e-3)
    assert found["line_outward[other]"] == pytest.approx(-left[0], rel=1e-3)
    assert found["line_outward[here]"] == pytest.approx(right[1] - 1, rel=1e-3)
    assert found["line_width_is_cut"] == float({-1.0, 2.0} & {*left, *right} != set())
    for end, start in (("other", 8), ("here", 16)):
        bend = losses[start - 1] - 2 * losses[start] + losses[start + 1]
        assert found[f"line_curvature[{end}]"] == pytest.approx(bend / 0.125**2, rel=0.01, abs=1e-3)
    assert found["other_loss"] == pytest.approx(losses[8], rel=1e-4)


def test_the_ends_of_the_line_have_the_losses_of_the_two_models():
    task = blob_task(norm_mlp)
    here = trained(task, draws(9), size=96, rate=0.3, epochs=10)
    found = SolutionLine(**FEW | {"examples": 96}).measure(snapshot_of(task, model=here, generator=draws(4)))
    other = trained(task, draws(4), size=10, rate=0.2, epochs=3)
    for model, position in ((other, 0), (here, 1)):
        for layer in model:
            if isinstance(layer, nn.BatchNorm1d):
                layer.momentum = None  # the running average of one pass over everything: statistics taken anew
                layer.reset_running_stats()
        model.train()(task.train.inputs)
        with torch.no_grad():
            loss = functional.cross_entropy(model.eval()(task.train.inputs), task.train.targets)
        assert found[f"line_loss[{position}]"] == pytest.approx(float(loss), rel=1e-4)


def parabola() -> tuple[Task, nn.Module, SolutionLine]:
    """Return a task of one weight w with loss 0.4 (w - 1)^2 on every example, w = 2, and a training that ends at 1."""
    inputs = torch.full((16, 1), math.sqrt(0.8))
    task = Task(
        name="parabola", model=lambda: zero_linear(1), train=(inputs, inputs), test=(inputs, inputs),
        loss="squared_error", metric=None,
    )  # fmt: skip
    model = task.initialise(0)
    with torch.no_grad():
        next(model.parameters()).fill_(2.0)
    return task, model, SolutionLine(batch_size=4, learning_rate=0.5, epochs=20, directions=3)


def test_widths_of_a_parabola_are_those_of_its_closed_form():
    task, model, measurement = parabola()
    found = measurement.measure(snapshot_of(task, model=model))
    # on the line 0.4 alpha^2: below 0.1 to both sides of 0 by 1/2; below 2 x 0.4 + 0.1 = 0.9 up to 3/2, and beyond -1
    expected = {
        "line_loss[-1]": 0.4, "line_loss[0]": 0.0, "line_loss[1]": 0.4, "line_loss[2]": 1.6,
        "line_width[other]": 1.0, "line_outward[other]": 0.5, "line_width[here]": 2.5, "line_outward[here]": 0.5,
        "line_width_is_cut": 1.0, "line_curvature[other]": 0.8, "line_curvature[here]": 0.8, "line_length": 1.0,
        "other_loss": 0.0,
        # the filter's norm is |w|: 0.4 beta^2 reaches 0.1 at 1/2; 0.4 (1 + 2 beta)^2 reaches 0.9 at 1/4, and not at -1
        "filter_width[other]": 1.0, "filter_width[here]": 1.25,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=2e-5)


def test_the_generator_decides_the_other_training_and_not_the_runs_own_end():
    task = blob_task()
    one, other = (SolutionLine(**FEW).measure(snapshot_of(task, generator=draws(seed))) for seed in (1, 2))
    assert one["line_loss[0]"] != pytest.approx(other["line_loss[0]"], rel=1e-4)
    assert one["line_loss[1]"] == pytest.approx(other["line_loss[1]"], rel=1e-5)


def test_width_along_filters_does_not_see_that_layers_were_rescaled_and_the_line_does():
    task = blob_task(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))
    here = trained(task, draws(9), size=96, rate=0.3, epochs=60)
    plain, changed = (
        SolutionLine(**FEW | {"directions": 3}).measure(snapshot_of(task, model=one, generator=draws(4)))
        for one in (here, rescaled(here, 8.0))
    )
    for end in ("other", "here"):
        assert changed[f"filter_width[{end}]"] == pytest.approx(plain[f"filter_width[{end}]"], rel=1e-3)
    assert 0.05 < plain["filter_width[here]"] < 2, "a width that is cut on both sides could not change"
    assert changed["line_loss[1]"] == pytest.approx(plain["line_loss[1]"], rel=1e-4)
    assert changed["line_length"] > 2 * plain["line_length"]


def test_one_solution_without_a_finite_loss_leaves_the_widths_of_the_other():
    task, model, measurement = parabola()
    wild = SolutionLine(batch_size=4, learning_rate=1e30, epochs=20, directions=1)
    diverged = wild.measure(snapshot_of(task, model=model))
    assert math.isnan(diverged["line_width[other]"])
    assert diverged["filter_width[here]"] == pytest.approx(1.25, abs=2e-5)
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    found = measurement.measure(snapshot_of(task, model=model))
    names = (
        "line_width[here]",
        "line_outward[here]",
        "line_width_is_cut",
        "line_curvature[here]",
        "filter_width[here]",
    )
    assert all(math.isnan(found[name]) for name in names)
    assert found["filter_width[other]"] == pytest.approx(1.0, abs=2e-5)


@pytest.mark.parametrize("name", MODELS)
def test_measuring_happens_once_at_the_end_and_leaves_training_alone(name):
    task = blob_task(MODELS[name])
    results = [
        train_run(task, run_of(task, budget=Steps(12), measurements=measured), torch.device("cpu")).records
        for measured in ((), (SolutionLine(**FEW),))
    ]
    kept = results[1].filter(results[1]["quantity"].is_in(results[0]["quantity"].unique().to_list()))
    assert kept["value"].to_list() == results[0]["value"].to_list()
    assert results[1].filter(results[1]["quantity"] == "line_length")["step"].to_list() == [12]
