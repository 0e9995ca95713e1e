"""The loss on the line to another solution."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.measurements.solution_line import SolutionLine
from critbatch.measuring import measure_task
from critbatch.minima.lines import POSITIONS
from critbatch.optimizers.adam import Adam
from critbatch.optimizers.sgd import SGD
from tests.problems import blob_task, norm_mlp, small_mlp

QUICK = {"batch_size": 16, "learning_rate": 0.3, "epochs": 3, "examples": 96, "directions": 1}


def trained(task, seed: int = 4) -> nn.Module:
    model = task.initialise(0)
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for one in model.parameters():
            one += 0.3 * torch.randn(one.shape, generator=drawn)
    return model


def mean_loss(task, model: nn.Module) -> float:
    with torch.no_grad():
        return float(task.losses(model.eval()(task.train.inputs), task.train.targets).double().mean())


def test_the_curve_is_the_loss_of_mixed_weights(monkeypatch):
    task = blob_task(small_mlp, l2=0.1)
    here, other = trained(task, 4), trained(task, 5)
    monkeypatch.setattr(SolutionLine, "_trained", lambda self, snapshot: other.eval())
    found = measure_task(SolutionLine(**QUICK), task, model=here, batch_size=8)
    mixed = task.initialise(0)
    for alpha in POSITIONS:
        with torch.no_grad():
            for one, first, second in zip(mixed.parameters(), other.parameters(), here.parameters(), strict=True):
                one.copy_((1 - alpha) * first + alpha * second)
        assert found[f"line_loss[{alpha:g}]"] == pytest.approx(mean_loss(task, mixed), rel=1e-4)
    vectors = [nn.utils.parameters_to_vector(one.parameters()).detach() for one in (other, here)]
    assert found["line_length"] == pytest.approx(float((vectors[1] - vectors[0]).norm()), rel=1e-5)
    assert found["other_loss"] == pytest.approx(mean_loss(task, other), rel=1e-5)


def test_widths_are_those_of_the_curve(monkeypatch):
    task = blob_task(small_mlp)
    here, other = trained(task, 4), trained(task, 5)
    monkeypatch.setattr(SolutionLine, "_trained", lambda self, snapshot: other.eval())
    found = measure_task(SolutionLine(**QUICK), task, model=here, batch_size=8)
    alphas, losses = np.array(POSITIONS), np.array([found[f"line_loss[{one:g}]"] for one in POSITIONS])
    for end, at, outwards in (("other", 0.0, -1), ("here", 1.0, 1)):
        index = int(np.abs(alphas - at).argmin())
        most = 2 * losses[index] + 0.1
        fine = np.linspace(0, 2.0 if outwards > 0 else 1.0, 200_001)[1:]
        way = np.interp(at + outwards * fine, alphas, losses)
        inside = np.abs(at + outwards * fine - 0.5) <= 1.5
        crossed = np.flatnonzero((way >= most) & inside)
        expected = fine[crossed[0]] if len(crossed) else 1.0
        assert found[f"line_outward[{end}]"] == pytest.approx(expected, abs=2e-5), end
        assert found[f"line_width[{end}]"] >= found[f"line_outward[{end}]"]


@pytest.mark.parametrize("optimizer", [None, SGD(momentum=0.9), Adam()])
def test_the_other_training_is_a_plain_loop(optimizer):
    task = blob_task(small_mlp, l2=0.05)
    measurement = SolutionLine(optimizer=optimizer, **QUICK)
    found = measure_task(measurement, task, model=trained(task), batch_size=8, seed=3)
    again = measure_task(measurement, task, model=trained(task), batch_size=8, seed=3)
    assert found == again
    assert found["other_loss"] < mean_loss(task, task.initialise(3))


def test_a_line_to_the_same_solution_is_flat(monkeypatch):
    task = blob_task(norm_mlp)
    here = trained(task)
    monkeypatch.setattr(SolutionLine, "_trained", lambda self, snapshot: trained(task).eval())
    found = measure_task(SolutionLine(**QUICK), task, model=here, batch_size=8)
    assert found["line_length"] == 0
    assert found["line_width_is_cut"] == 1
    assert found["line_outward[here]"] == found["line_outward[other]"] == 1
    assert found["line_curvature[here]"] == pytest.approx(0, abs=1e-4)


def test_a_loss_that_is_not_finite_has_no_width():
    task = blob_task(small_mlp)
    model = task.initialise(0)
    with torch.no_grad():
        model[0].weight.fill_(math.nan)
    found = measure_task(SolutionLine(**QUICK), task, model=model, batch_size=8)
    assert math.isnan(found["line_width[here]"])
    assert math.isfinite(found["other_loss"])


@pytest.mark.parametrize(
    "bad", [{"batch_size": 0}, {"epochs": 0}, {"examples": 0}, {"directions": 0}, {"learning_rate": 0.0}]
)
def test_it_refuses_what_makes_no_sense(bad):
    with pytest.raises(ValueError, match="SolutionLine"):
        SolutionLine(**bad)
