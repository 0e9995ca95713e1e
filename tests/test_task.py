"""A task checks everything before any training, and its revision follows data and code."""

import functools
import math
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.data import Stream
from critbatch.objective import Metric, correct
from critbatch.randomness import generator
from critbatch.task import Target, Task

INPUTS = torch.randn(40, 3, generator=generator(0, "test task"))
LABELS = torch.arange(40) % 4


def make_model():
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 4))


def make_task(**changes: Any) -> Task:
    given: dict[str, Any] = {"name": "mine", "model": make_model, "train": (INPUTS, LABELS), "test": (INPUTS, LABELS)}
    return Task(**(given | changes))


def with_nan(values):
    values = values.clone()
    values[0, 0] = float("nan")
    return values


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, inputs):
        return self.layer(inputs), None


def unseeded():
    layer = nn.Linear(3, 4)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.random.default_rng().normal(size=(4, 3))))
    return layer


def biased(value):
    """Return a factory of models whose last bias has the given value."""

    def make():
        last = nn.Linear(8, 4)
        nn.init.constant_(last.bias, value)
        return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.1), last)

    return make


SINGLE = make_model()
BAD = {
    "an empty name": ({"name": ""}, ValueError, r"`Task\(name=''\)`: it becomes part of file names"),
    "a path as name": ({"name": "../x"}, ValueError, "becomes part of file names"),
    "a negative penalty": ({"l2": -0.1}, ValueError, r"`Task\(l2=-0.1\)`: a penalty cannot be negative"),
    "a penalty that is no number": ({"l2": math.nan}, ValueError, "l2=nan"),
    "no training data": ({"train": (INPUTS[:0], LABELS[:0])}, ValueError, r"`Task\(train=.*the set is empty"),
    "no test data": ({"test": (INPUTS[:0], LABELS[:0])}, ValueError, r"`Task\(test=.*the set is empty"),
    "NaN in the validation set": (
        {"validation": (with_nan(INPUTS), LABELS)}, ValueError, r"`Task\(validation=.*1 of 120 numbers in the inputs",
    ),
    "an empty stream": (
        {"train": Stream(lambda source, count: (INPUTS[:count], LABELS[:count]), 0)}, ValueError, r"Stream\(size=0\)",
    ),
    "a stream of the wrong length": (
        {"train": Stream(lambda source, count: (INPUTS, LABELS), 7)}, ValueError, "the draw returned 40 examples",
    ),
    "a module in place of a factory": ({"model": SINGLE}, TypeError, "got a Sequential; .* Give a function"),
    "a factory of something else": ({"model": lambda: 3}, TypeError, "the factory returned int, not a torch.nn.Module"),
    "one module for all runs": ({"model": lambda: SINGLE}, ValueError, "returned the same module twice"),
    "shared parameters": (
        {"model": lambda: nn.Sequential(SINGLE[0], nn.Linear(8, 4))}, ValueError, "returned the same module twice",
    ),
    "nothing to train": ({"model": nn.Identity}, ValueError, "no parameter to train"),
    "lazy layers": ({"model": lambda: nn.LazyLinear(4)}, ValueError, "lazy layers, whose shapes are not known yet"),
    "unseeded initial values": ({"model": unseeded}, ValueError, "one random seed gave different 'weight'"),
    "initial values that overflow": (
        {"model": biased(math.inf)}, ValueError, "before training, the loss of 8 of 8 train examples is NaN or inf",
    ),
    "more than one output": ({"model": Pair}, TypeError, "the model returned tuple, not a tensor"),
    "other inputs than the model takes": (
        {"train": (INPUTS[:, :2], LABELS)}, ValueError, r"cannot take the train inputs of shape \(8, 2\) and type",
    ),
    "other test inputs": (
        {"test": (INPUTS[:, :2], LABELS)}, ValueError, r"cannot take the test inputs of shape \(8, 2\)",
    ),
    "whole numbers as inputs": (
        {"train": (LABELS[:, None].repeat(1, 3), LABELS)}, ValueError, "type torch.int64: .* Check the shape and type",
    ),
    "labels that are too large": (
        {"test": (INPUTS, LABELS + 1)}, ValueError, "test set: labels run from 1 to 4, but the model has 4 outputs",
    ),
    "negative labels": ({"train": (INPUTS, LABELS - 1)}, ValueError, "labels run from -1 to 2"),
    "a late label that is too large": (
        {"train": (INPUTS, torch.cat([LABELS[:-1], torch.tensor([9])]))}, ValueError, "labels run from 0 to 9",
    ),
    "labels as floating numbers": (
        {"train": (INPUTS, LABELS.float())}, ValueError, "cross-entropy needs .* integer class labels .* torch.float32",
    ),
    "labels with one axis more": ({"train": (INPUTS, LABELS[:, None])}, ValueError, r"of shape \('example', 1\)"),
    "outputs without classes": (
        {"model": lambda: nn.Sequential(nn.Linear(3, 1), nn.Flatten(0))},
        ValueError, r"outputs have shape \('example',\)",
    ),
    "accuracy of a regression": (
        {"train": (INPUTS, INPUTS[:, 0]), "model": lambda: nn.Linear(3, 1), "loss": "squared_error"},
        ValueError, "metric 'accuracy' needs .* use metric=None",
    ),
    "probabilities above 1": (
        {"model": lambda: nn.Linear(3, 1), "loss": "binary_cross_entropy", "metric": "binary_accuracy"},
        ValueError, r"targets run from 0 to 3, but must lie in \[0, 1\]",
    ),
    "targets of another shape": (
        {"test": (INPUTS, INPUTS), "train": (INPUTS, INPUTS), "loss": "squared_error", "metric": None},
        ValueError, r"the loss fails on train outputs of shape \(8, 4\) and targets of shape \(8, 3\)",
    ),
    "an unknown loss": ({"loss": "hinge"}, ValueError, r"`Task\(loss='hinge'\)`: unknown. Use one of binary_cross"),
    "an unknown metric": ({"metric": "f1"}, ValueError, r"`Task\(metric='f1'\)`: unknown. Use one of accuracy"),
    "a loss that reduces": (
        {"loss": nn.functional.cross_entropy}, ValueError, r"the loss returned shape \(\) for 8 .* do not reduce",
    ),
    "a loss that returns a number": (
        {"loss": lambda outputs, targets: 1.0}, ValueError, "the loss returned shape float for 8 examples",
    ),
    "a loss with one value per output": (
        {"loss": lambda outputs, targets: outputs}, ValueError, r"the loss returned shape \(8, 4\) for 8 examples",
    ),
    "a metric that reduces": (
        {"metric": Metric("mean", lambda outputs, targets: outputs.mean(), "above")},
        ValueError, r"the metric 'mean' returned shape \(\)",
    ),
    "a target nobody records": (
        {"target": Target("validation_accuracy", 0.9)},
        ValueError, "records no such quantity. Use one of test_accuracy, test_loss, train_accuracy, train_loss",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_task_is_refused_with_a_reason(name):
    changes, error, message = BAD[name]
    with pytest.raises(error, match=message):
        make_task(**changes)


def test_the_cause_of_a_failing_model_is_kept():
    with pytest.raises(ValueError, match="cannot take") as caught:
        make_task(train=(INPUTS[:, :2], LABELS))
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_target_that_no_run_can_reach_is_refused(value):
    with pytest.raises(ValueError, match="no run can reach it"):
        Target("test_loss", value)


def test_a_target_takes_the_direction_that_its_metric_declares():
    task = make_task(validation=(INPUTS, LABELS), target=Target("validation_accuracy", 0.9))
    assert task.target == Target("validation_accuracy", 0.9, "above")
    assert task.selection_split == "validation"
    assert make_task(target=Target("test_loss", 0.9)).target == Target("test_loss", 0.9, "below")
    assert make_task(target=Target("test_loss", 0.9, "above")).target == Target("test_loss", 0.9, "above")
    assert make_task().target is None
    assert make_task().selection_split == "test"


def test_a_penalised_task_records_its_objective():
    assert make_task(l2=0.1).better("train_objective") == "below"
    with pytest.raises(ValueError, match="records no such quantity"):
        make_task().better("train_objective")


def test_without_a_metric_the_loss_is_the_metric():
    task = make_task(metric=None)
    assert task.metric.values is task.losses
    assert task.better("test_loss") == "below"


def test_a_seed_decides_the_initialisation_and_nothing_else_is_touched():
    task = make_task()
    before = torch.get_rng_state()
    first, again, other = (task.initialise(seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])


def test_looks_see_all_of_a_small_training_set_and_a_fixed_part_of_a_large_one():
    assert len(make_task().splits["train"]) == 40
    large = make_task(train=(INPUTS.repeat(60, 1), LABELS.repeat(60)))
    assert len(large.splits["train"]) == 2000
    assert torch.equal(large.splits["train"].inputs, large.splits["train"].inputs)


def test_the_revision_repeats():
    assert make_task().revision == make_task().revision
    assert make_task(model=lambda: make_model()).revision == make_task().revision
    assert make_task(revision="v1").revision == "v1"


def shifted(outputs, targets):
    return (outputs.argmax(-1) == (targets + 1) % 4).float()


CHANGES = {
    "one training number": {"train": (INPUTS + torch.eye(40, 3) * 1e-3, LABELS)},
    "one label": {"train": (INPUTS, torch.cat([LABELS[:-1], LABELS[:1]]))},
    "one test number": {"test": (INPUTS + torch.eye(40, 3) * 1e-3, LABELS)},
    "the order of the data": {"train": (INPUTS.flip(0), LABELS.flip(0))},
    "a validation set": {"validation": (INPUTS, LABELS)},
    "the activation": {"model": lambda: nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 4))},
    "the width": {"model": lambda: nn.Sequential(nn.Linear(3, 9), nn.Tanh(), nn.Dropout(0.1), nn.Linear(9, 4))},
    "dropout": {"model": lambda: nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 4))},
    "the initialisation": {"model": biased(0.5)},
    "the penalty": {"l2": 0.01},
    "the loss": {"loss": lambda outputs, targets: (outputs**2).mean(1)},
    "the metric": {"metric": None},
    "the metric's code": {"metric": Metric("accuracy", shifted, "above")},
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_revision_changes_with(name):
    assert make_task(**CHANGES[name]).revision != make_task().revision


def test_an_equal_metric_keeps_the_revision():
    assert make_task(metric=Metric("accuracy", correct, "above")).revision == make_task().revision


def test_a_pickled_task_is_the_same_task():
    task = make_task(target=Target("test_accuracy", 0.9), validation=(INPUTS, LABELS))
    copy = pickle.loads(pickle.dumps(task))
    assert (copy.name, copy.revision, copy.target) == (task.name, task.revision, task.target)
    assert torch.equal(copy.splits["train"].inputs, INPUTS)
    assert torch.equal(copy.initialise(1).state_dict()["0.weight"], task.initialise(1).state_dict()["0.weight"])


def local_task() -> Task:
    """Return a task whose model cannot be pickled."""
    return make_task(model=lambda: make_model(), name="local")


def test_a_task_with_a_source_is_pickled_as_its_source():
    task = local_task().from_source(local_task)
    content = pickle.dumps(task)
    assert len(content) < 200
    assert pickle.loads(content).revision == task.revision


def test_a_task_without_a_source_pickles_only_if_its_functions_do():
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(local_task())
    partial = make_task(model=functools.partial(nn.Linear, 3, 4))
    assert pickle.loads(pickle.dumps(partial)).revision == partial.revision


def test_a_stream_trains_with_a_fixed_look():
    def draw(source, count):
        inputs = torch.randn(count, 3, generator=source)
        return inputs, (inputs[:, 0] > 0).long()

    task = make_task(train=Stream(draw, 64))
    assert len(task.train) == 64
    assert torch.equal(task.splits["train"].inputs, task.train.epoch(0, 0).inputs)
