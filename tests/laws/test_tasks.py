"""Every task that comes with critbatch is what its text says, trains, and can be made again."""

import functools
import inspect
import math
import pickle
import re

import pytest
import torch

from critbatch import catalog
from critbatch.task import Task

from ..requirements import require_data

NAMES = catalog.names("tasks")


def text_of(name: str) -> str:
    return inspect.getdoc(catalog.module("tasks", name).task) or ""


# what needs a data folder says so
FROM_FILES = [name for name in NAMES if "CRITBATCH_DATA" in text_of(name)]


@functools.lru_cache
def loaded(name: str) -> Task:
    return catalog.load_task(name)


@pytest.fixture(params=NAMES)
def task(request) -> Task:
    if request.param in FROM_FILES:
        require_data()
    return loaded(request.param)


def number(text: str, pattern: str) -> float:
    found = re.search(pattern, " ".join(text.split()))
    assert found, f"{pattern!r} is not in: {text}"
    return float(found[1].replace(",", ""))


def test_the_catalog_has_tasks_that_need_no_files():
    assert {"digits", "digits_linear", "teacher_student", "iris"} <= set(NAMES) - set(FROM_FILES)


def test_a_task_is_named_after_its_file_and_can_be_made_elsewhere(task):
    assert task.name in NAMES
    assert len(pickle.dumps(task)) < 300  # by its source, not by its data


def test_the_text_states_parameters_target_and_source(task):
    text = text_of(task.name)
    parameters = sum(parameter.numel() for parameter in task.initialise(0).parameters())
    assert number(text, r"([\d,]+) parameters") == parameters
    quantity = task.target.quantity.replace("_", " ").replace("train ", "training ")
    assert number(text, rf"Target: {quantity}[a-z() ]* ([\d.]+\d)") == task.target.value
    assert re.search(r"Source: .+\d{4}", text)


def test_the_text_states_the_sizes_of_the_sets(task):
    text = " ".join(text_of(task.name).split())
    for size in {len(task.train), len(task.test), len(task.validation)}:
        assert re.search(rf"(?<!\d){size:,}(?!\d)", text), f"{size:,} is not in: {text}"


def test_three_sets_agree_in_shape_and_kind(task):
    parts = [task.train.epoch(0, 0), task.validation, task.test]
    for tensors in ([part.inputs for part in parts], [part.targets for part in parts]):
        assert len({(tensor.shape[1:], tensor.dtype) for tensor in tensors}) == 1
    assert all(len(part) >= 30 for part in parts)
    assert not parts[0].inputs.is_floating_point() or parts[0].inputs.dtype == torch.float32


def test_a_gradient_is_finite_and_reaches_every_parameter(task):
    model = task.initialise(0)
    batch = task.train.epoch(0, 0)
    losses = task.losses(model(batch.inputs[:64]), batch.targets[:64])
    assert losses.shape == (min(64, len(batch)),)
    losses.mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_an_untrained_model_is_not_at_the_target(task):
    assert task.target is not None
    split, _, name = task.target.quantity.partition("_")
    part = task.splits[split]
    values = task.losses if name == "loss" else task.metric.values
    with torch.no_grad():
        start = float(values(task.initialise(0)(part.inputs), part.targets).mean())
    assert math.isfinite(start)
    assert start < task.target.value if task.target.direction == "above" else start > task.target.value


@pytest.mark.parametrize("name", FROM_FILES)
def test_without_a_data_folder_one_line_says_what_to_set(name, monkeypatch):
    monkeypatch.delenv("CRITBATCH_DATA", raising=False)
    with pytest.raises(
        ValueError, match=r"CRITBATCH_DATA is not set.*Set CRITBATCH_DATA to a folder that holds"
    ) as caught:
        catalog.load_task(name)
    assert "\n" not in str(caught.value)


def test_a_task_that_is_made_again_has_the_same_revision():
    assert pickle.loads(pickle.dumps(loaded("digits"))).revision == loaded("digits").revision
