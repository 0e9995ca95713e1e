"""A training step as a pure function: what it trains, what it carries along, and that it leaves its arguments alone."""

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_flatten

from critbatch.engine.step import Step, step_of
from critbatch.optimizers.adam import Adam
from critbatch.optimizers.sgd import SGD
from critbatch.task import Task
from tests.problems import ZOO, zoo_task

from .by_hand import RULES, distance, train_by_hand

DOUBLE = torch.float64
DRAWING = {"dropout", "dropout across", "sparse cnn", "encoder layer", "transformer"}


def step_and_batch(task: Task, optimizer=SGD(), size: int = 6) -> tuple[Step, torch.Tensor, torch.Tensor]:  # noqa: B008
    data = task.train.to(torch.device("cpu"), DOUBLE)
    return step_of(task, optimizer, DOUBLE), data.inputs[:size], data.targets[:size]


def test_what_no_gradient_reaches_is_carried_along():
    step = step_of(zoo_task("branched"), SGD(), DOUBLE)
    assert set(step.trained) == {"inside.weight", "twice.weight", "twice.bias"}
    assert step.kept == ("unused",)


def test_under_a_penalty_all_parameters_are_trained():
    step = step_of(zoo_task("branched", l2=0.1), SGD(), DOUBLE)
    assert set(step.trained) == {"inside.weight", "twice.weight", "twice.bias", "unused"}
    assert step.kept == ()


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_frozen_parameters_and_buffers_are_carried_along(l2):
    step = step_of(zoo_task("frozen", l2=l2), SGD(), DOUBLE)
    assert set(step.trained) == {"out.weight", "out.bias"}
    assert set(step.kept) == {"features.weight", "features.bias", "shift", "average", "count"}


@pytest.mark.parametrize("model", ["branched", "frozen", "wide cnn", "transformer"])
def test_numbers_go_into_a_state_and_out_again(model):
    task = zoo_task(model)
    step = step_of(task, Adam(), DOUBLE)
    one, other = (task.initialise(seed).double() for seed in (1, 2))
    state = step.start(one)
    assert [len(slots) for slots in state.slots] == [2] * len(step.trained)
    assert all(not slot.any() for slots in state.slots for slot in slots)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.zero_()  # a state is a copy
    step.finish(state, other)
    expected = task.initialise(1).double().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in other.state_dict().items())


@pytest.mark.parametrize("model", ZOO)
def test_a_step_changes_nothing_in_place(model):
    step, inputs, targets = step_and_batch(zoo_task(model), SGD(momentum=0.9))
    state = step.start(step.model)
    everything = [*tree_flatten(state)[0], inputs, targets, *step.model.state_dict().values()]
    before = [one.clone() for one in everything]
    with torch.random.fork_rng():
        loss, moved = step(state, inputs, targets, [torch.tensor(0.1, dtype=DOUBLE)])
    assert loss.isfinite()
    assert all(torch.equal(one, other) for one, other in zip(everything, before, strict=True))
    assert [one.shape for one in tree_flatten(moved)[0]] == [one.shape for one in tree_flatten(state)[0]]
    assert not torch.equal(moved.parameters[0], state.parameters[0])


@pytest.mark.parametrize("model", [one for one in ZOO if one not in DRAWING])
@pytest.mark.parametrize("rule", ["nesterov", "adamw, clipped"])
def test_steps_are_the_hand_written_ones(model, rule):
    task, rule = zoo_task(model), RULES[rule]
    step, inputs, targets = step_and_batch(task, rule.ours, 24)
    index, rates = torch.arange(24).reshape(4, 6), [rule.rate] * 4
    losses, expected = train_by_hand(task, rule, index, rates, seed=3, dtype=DOUBLE)
    state, found = step.start(task.initialise(3).double()), []
    table = np.stack(rule.ours.coefficients(np.array(rates), np.arange(1.0, 5.0)), axis=-1)
    for batch, row in zip(index, torch.from_numpy(table), strict=True):
        loss, state = step(state, inputs[batch], targets[batch], list(row))
        found.append(loss.detach())
    assert distance(torch.stack(found), losses) <= 1e-12  # identity: other order of operations
    trained = task.initialise(3).double()
    step.finish(state, trained)
    if rule.options.get("betas") is None:  # Adam moves what has no gradient but rounding noise by that noise
        for name, value in expected.state_dict().items():
            assert distance(trained.state_dict()[name], value) <= 1e-11, name


def test_making_a_step_leaves_the_global_random_state_alone():
    task = zoo_task("dropout")
    before = torch.get_rng_state()
    step_of(task, SGD(), DOUBLE)
    assert torch.equal(torch.get_rng_state(), before)
