"""A Keras model as the model of a task: its parameters, its modes, and its gradients."""

import copy
import random
from typing import Any

import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from critbatch.derivatives import per_example_gradients
from critbatch.keras_model import KerasModel, as_module
from critbatch.task import Task

from .integrations import raw

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def keras(monkeypatch: pytest.MonkeyPatch) -> Any:
    raw.needs("keras")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    import keras

    return keras


def perceptron(keras: Any, *between: Any) -> Any:
    return keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(8, activation="tanh"), *between, keras.layers.Dense(3)]
    )


def batch(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 6, generator=generator), torch.randint(3, (count,), generator=generator)


def losses(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(outputs, targets, reduction="none")


def test_a_task_takes_it_and_draws_it_from_the_seed(keras: Any) -> None:
    inputs, targets = batch(40)
    task = Task(
        name="keras", model=lambda: perceptron(keras), train=(inputs[:20], targets[:20]),
        validation=(inputs[20:30], targets[20:30]), test=(inputs[30:], targets[30:]),
    )  # fmt: skip
    state = random.getstate()
    one, same, other = task.initialise(0), task.initialise(0), task.initialise(1)
    assert random.getstate() == state
    assert isinstance(one, KerasModel)
    vectors = [torch.nn.utils.parameters_to_vector(each.parameters()) for each in (one, same, other)]
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.equal(vectors[0], vectors[2])
    assert {name.rpartition("__")[2] for name, _ in one.named_parameters()} == {"kernel", "bias"}


def test_it_is_the_model_and_a_function_of_its_parameters(keras: Any) -> None:
    original, (inputs, targets) = perceptron(keras), batch(7)
    module = as_module(original)
    torch.testing.assert_close(module(inputs), original(inputs))
    doubled = {name: 2 * value for name, value in module.named_parameters()}
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(2)
    torch.testing.assert_close(functional_call(module, doubled, (inputs,)), twin(inputs))
    assert not torch.allclose(module(inputs), twin(inputs))
    rows = per_example_gradients(module, losses, inputs, targets)
    for row, one, target in zip(rows, inputs, targets, strict=True):
        loss = losses(module(one[None]), target[None])[0]
        expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(module.parameters()))])
        torch.testing.assert_close(row, expected, rtol=1e-5, atol=1e-6)


def test_it_follows_its_mode(keras: Any) -> None:
    inputs, _ = batch(50)
    module = as_module(perceptron(keras, keras.layers.BatchNormalization(momentum=0.5), keras.layers.Dropout(0.5)))
    before = {name: value.clone() for name, value in module.named_buffers()}
    module.eval()
    assert module.is_repeatable
    assert torch.equal(module(inputs), module(inputs))
    assert all(torch.equal(value, before[name]) for name, value in module.named_buffers())
    module.train()
    assert not module.is_repeatable
    assert not torch.equal(module(inputs), module(inputs))
    changed = [name for name, value in module.named_buffers() if not torch.equal(value, before[name])]
    assert any("moving_mean" in name for name in changed)


def test_a_model_without_variables_is_refused(keras: Any) -> None:
    with pytest.raises(ValueError, match="Input"):
        as_module(keras.Sequential([keras.layers.Dense(3)]))


def test_other_modules_stay_as_they_are() -> None:
    model = torch.nn.Linear(2, 2)
    assert as_module(model) is model
