"""Information of hidden layers: a twin by counting, all places of a convolution, which examples, and no trace."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.measurements import information_plane
from critbatch.measurements.information_plane import InformationPlane
from critbatch.models import hidden
from critbatch.mutual_information.binning import Fixed, Range, Saturating
from tests.problems import MODELS, blob_task, regression_task, run_of, zoo_task

from .test_hidden_units import snapshot_of


def entropy(values: list) -> float:
    return sum(-n / len(values) * math.log2(n / len(values)) for n in Counter(values).values())


def two_layers() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 3))


def test_it_equals_entropies_of_counted_rows():
    task = blob_task(two_layers)
    found = InformationPlane(Fixed(6), layers=3).measure(snapshot_of(task))
    states, labels = task.train.inputs.double(), task.train.targets.tolist()
    model = task.initialise(0).double()
    for layer in (1, 2):
        states = torch.tanh(model[2 * layer - 2](states))
        rows = [tuple(min(int((one + 1) // (1 / 3)), 5) for one in row) for row in states.tolist()]
        expected = entropy(rows), entropy(rows) + entropy(labels) - entropy(list(zip(rows, labels, strict=True)))
        names = f"input_information[fixed=6,layer={layer}]", f"target_information[fixed=6,layer={layer}]"
        assert tuple(found[name] for name in names) == pytest.approx(expected, rel=1e-9)
    assert np.isnan(found["input_information[fixed=6,layer=3]"]), "there is no third hidden layer"
    assert len(found) == 6


def test_several_binnings_of_one_run_have_names_of_their_own():
    kinds = [InformationPlane(bins) for bins in (Fixed(), Range(), Saturating(100))]
    assert [next(iter(one.quantities)) for one in kinds] == [
        "input_information[fixed=30,layer=1]", "input_information[range=100,layer=1]",
        "input_information[saturating=99,layer=1]",
    ]  # fmt: skip


@pytest.mark.parametrize("most", [16_384, 100])
def test_all_places_of_a_convolution_are_one_state(most, monkeypatch):
    for module in (hidden, information_plane):
        monkeypatch.setattr(module, "MOST_OBSERVATIONS", most)
    task = zoo_task("sparse cnn")
    found = InformationPlane(Range(3)).measure(snapshot_of(task))
    model = task.initialise(0).double().eval()
    states = torch.relu(model[0](task.train.inputs.double())).movedim(1, -1).reshape(24, -1)
    width = states.max() / 3
    rows = [tuple((row // width).clamp(max=2).tolist()) for row in states]
    assert found["input_information[range=3,layer=1]"] == pytest.approx(entropy(rows), rel=1e-9)


def test_it_sees_the_training_set_or_everything_and_of_many_examples_the_same_ones():
    # bins so fine that every example has a state of its own
    task = blob_task(MODELS["dropout"])
    name = "input_information[range=10000,layer=1]"

    def known(**more) -> float:
        snapshot = snapshot_of(task, model=task.initialise(3).train())
        return InformationPlane(Range(10_000), **more).measure(snapshot)[name]

    assert known() == pytest.approx(math.log2(96))
    assert known(everything=True) == pytest.approx(math.log2(96 + 200 + 300))
    assert known(examples=50) == pytest.approx(math.log2(50))
    snapshots = [snapshot_of(task, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    drawn = [InformationPlane(examples=40).measure(one) for one in snapshots]
    assert drawn[0] == drawn[1]


def test_targets_of_several_numbers_are_classes_of_equal_rows():
    task = regression_task(dimension=4, count=32)
    targets = torch.stack([torch.arange(32) % 2, torch.arange(32) % 4], 1).float()
    inputs = torch.cat([targets, targets], 1)
    model = nn.Sequential(nn.Linear(4, 2, bias=False), nn.Tanh(), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[0.3, 0.0, 0.0, 0.0], [0.0, 0.3, 0.0, 0.0]]))
    found = InformationPlane().measure(snapshot_of(task, model=model, inputs=inputs, targets=targets))
    # 4 combinations of the two numbers, all told apart
    assert tuple(found.values()) == pytest.approx((2, 2), abs=1e-12)


def test_dropout_and_single_precision_do_not_blur_states():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Dropout(0.5), nn.Linear(3, 1), nn.Tanh(), nn.Linear(1, 3))
    inputs = torch.ones(96, 4)
    found = InformationPlane(Fixed(1000), layers=2).measure(snapshot_of(blob_task(), model=model, inputs=inputs))
    assert found["input_information[fixed=1000,layer=2]"] == 0, "one input, one state"
    steep = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Tanh(), nn.Linear(1, 3))
    nn.init.constant_(steep[0].weight, 16.0)
    inputs = torch.linspace(0.7, 1, 96)[:, None]  # before the tanh 11.2 to 16: all 1 in single precision
    found = InformationPlane(Saturating()).measure(snapshot_of(blob_task(), model=steep, inputs=inputs))
    assert found["input_information[saturating=99,layer=1]"] > 2


@pytest.mark.parametrize("kind", ["no hidden layer", "not finite"])
def test_what_has_no_states_has_no_information(kind):
    model = nn.Linear(4, 3) if kind == "no hidden layer" else two_layers()
    nn.init.constant_(next(model.parameters()), torch.nan)
    found = InformationPlane(layers=2).measure(snapshot_of(blob_task(), model=model))
    assert np.isnan(list(found.values())).all()


def test_measuring_leaves_training_alone():
    task = blob_task(MODELS["dropout"])
    plain = run_of(task, budget=Steps(12))
    measured = dataclasses.replace(plain, measurements=(InformationPlane(), InformationPlane(Range())))
    without, with_it = (train_run(task, run, torch.device("cpu")).records for run in (plain, measured))
    kept = with_it.filter(with_it["quantity"].is_in(without["quantity"].unique().to_list()))
    assert kept["value"].to_list() == without["value"].to_list()
    for name in ("fixed=30", "range=100"):
        assert with_it.filter(with_it["quantity"] == f"input_information[{name},layer=1]")["step"].max() == 12


@pytest.mark.parametrize("bad", [{"layers": 0}, {"examples": 0}])
def test_nothing_to_measure_is_refused(bad):
    with pytest.raises(ValueError, match="give at least 1 of each"):
        InformationPlane(**bad)
