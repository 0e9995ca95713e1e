"""A compiled step against the loop anybody would write: losses, parameters and buffers, model by model."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.data import Examples
from critbatch.engine.native import pointwise
from critbatch.engine.native.steps import CompiledStep, Workbench
from critbatch.engine.native.values import Unsupported
from critbatch.engine.step import State, Step, step_of
from critbatch.randomness import seed_of
from critbatch.task import Task
from tests.problems import ZOO, blob_task, zoo_task

from .by_hand import RULES, Rule, distance, train_by_hand

SEED = 5  # not the one that a step is traced with
TOLERANCES = {torch.float64: (100, 1e-10), torch.float32: (10, 1e-6)}  # steps, and what rounding may add up to in them
# Under Adam a parameter whose gradient is nothing but rounding noise moves by that noise: a bias before a batch norm, or
# a bias of attention's keys. Such models have another rule here.
CASES = [
    ("linear", "adamw", 1),
    ("tanh, gelu, silu, sigmoid", "adam", 8),
    ("relu, elu, leaky relu, softplus", "nesterov", 3),
    ("dropout", "adam, decay", 2),
    ("dropout across", "momentum", 3),
    ("batch norm", "nesterov", 2),
    ("layer norm", "adamw, clipped", 1),
    ("branched", "decay", 24),
    ("branched", "adam, decay", 3),
    ("frozen", "adam", 8),
    ("wide cnn", "clipped", 3),
    ("sparse cnn", "adamw", 2),
    ("series cnn", "momentum", 8),
    ("lstm", "adam", 3),
    ("gru", "nesterov", 1),
    ("encoder layer", "sgd", 3),
    ("transformer", "momentum", 2),
]
SINGLE = [("dropout", "adamw", 8), ("sparse cnn", "momentum", 8)]


class Trained:
    """A compiled step at work, in blocks of steps as the engine takes them."""

    def __init__(self, task: Task, rule: Rule, size: int, dtype: torch.dtype, words: str = "") -> None:
        self.task, self.rule, self.dtype = task, rule, dtype
        data = task.train.to(torch.device("cpu"), dtype)
        self.data = Examples(data.inputs.contiguous(), data.targets.contiguous())
        self.step: Step = step_of(task, rule.ours, dtype)
        self.state: State = self.step.start(task.initialise(SEED).to(dtype))
        self.draw = torch.Generator().manual_seed(seed_of(SEED, "forward"))
        about = {"model": repr(self.step.model), "dtype": str(dtype), "l2": task.l2, "words": words}
        self.bench = Workbench(self.step, self.data, about, seconds=100.0)
        self.program: CompiledStep = self.bench.step_of(size)

    def coefficients(self, rates, start: int) -> np.ndarray:
        steps = np.arange(start, start + len(rates), dtype=float)
        return np.stack(self.rule.ours.coefficients(np.array(rates), steps), axis=-1)

    def advance(self, index: torch.Tensor, rates, start: int = 1) -> torch.Tensor:
        rows = self.coefficients(rates, start)
        return self.program.advance(self.state, self.data, index.contiguous(), rows, self.draw)

    def in_blocks(self, index: torch.Tensor, rates) -> Iterator[torch.Tensor]:
        start = 0
        for count in (1, 2, len(index) - 3):
            yield self.advance(index[start : start + count], rates[start : start + count], start + 1)
            start += count

    def model(self) -> nn.Module:
        model = self.task.initialise(SEED).to(self.dtype)
        self.step.finish(self.state, model)
        return model


def examples_and_rates(size: int, steps: int, rate: float) -> tuple[torch.Tensor, list[float]]:
    draw = torch.Generator().manual_seed(1)
    index = torch.randint(24, (steps, size), generator=draw)  # with repetition: a step may see an example twice
    return index, [rate * (1 - step / (2 * steps)) for step in range(steps)]


def assert_same_training(
    model: str, rule: Rule, size: int, dtype: torch.dtype, *, factor: float = 1.0, words: str = "", **more
) -> None:
    steps, tolerance = TOLERANCES[dtype]
    task = zoo_task(model, **more)
    index, rates = examples_and_rates(size, steps, rule.rate)
    losses, expected = train_by_hand(task, rule, index, rates, seed=SEED, dtype=dtype)
    trained = Trained(task, rule, size, dtype, words)
    found = torch.cat(list(trained.in_blocks(index, [factor * rate for rate in rates])))
    assert distance(found, losses) <= tolerance
    ours, theirs = trained.model().state_dict(), expected.state_dict()
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert distance(ours[name], value) <= tolerance, name


def test_every_model_of_the_zoo_has_a_case():
    assert {model for model, _, _ in CASES} == set(ZOO)
    assert {rule for _, rule, _ in CASES} == set(RULES)


@pytest.mark.parametrize(("model", "rule", "size"), CASES)
def test_a_compiled_step_is_the_hand_written_one_in_double_precision(model, rule, size):
    assert_same_training(model, RULES[rule], size, torch.float64)


@pytest.mark.parametrize(("model", "rule", "size"), SINGLE)
def test_a_compiled_step_is_the_hand_written_one_in_single_precision(model, rule, size):
    assert_same_training(model, RULES[rule], size, torch.float32)


@pytest.mark.parametrize("rule", ["decay", "adamw"])
def test_an_l2_penalty_reaches_parameters_that_no_gradient_reaches(rule):
    assert_same_training("branched", RULES[rule], 2, torch.float64, l2=0.1)


def test_a_learning_rate_that_is_off_by_a_millionth_is_seen():
    with pytest.raises(AssertionError):
        assert_same_training("linear", RULES["adamw"], 1, torch.float64, factor=1 + 1e-6)


def test_a_wrong_operation_is_seen(monkeypatch):
    monkeypatch.setitem(pointwise.ARITHMETIC, "tanh", "1.000001 * tanh_{s}({0})")
    with pytest.raises(AssertionError):
        assert_same_training("frozen", RULES["sgd"], 2, torch.float64, words="another program")


def test_steps_end_with_the_first_loss_that_is_not_finite():
    trained = Trained(zoo_task("linear"), RULES["sgd"], 8, torch.float32)
    index, rates = examples_and_rates(8, 20, 0.1)
    rates[5] = 1e38
    losses = trained.advance(index, rates)
    assert 6 < len(losses) < 20
    assert losses[:-1].isfinite().all()
    assert not losses[-1].isfinite()


@pytest.mark.parametrize("wrong", [3, -1, 10**12, -(10**12)])
def test_a_label_outside_of_the_classes_is_an_index_error_as_in_torch(wrong):
    trained = Trained(blob_task(), RULES["sgd"], 8, torch.float32)
    inputs, labels = trained.data.inputs, trained.data.targets.clone()
    labels[7] = wrong
    index = torch.arange(16).reshape(2, 8)
    with pytest.raises(IndexError, match="out of bounds"):
        nn.functional.cross_entropy(inputs[:8, :3], labels[:8])
    trained.data = Examples(inputs, labels)
    with pytest.raises(IndexError, match="outside of the axis that it points into"):
        trained.advance(index, [0.1, 0.1])


@pytest.mark.parametrize("wrong", [5, -1, 10**12])
def test_a_token_outside_of_the_alphabet_is_an_index_error_as_in_torch(wrong):
    trained = Trained(zoo_task("transformer"), RULES["momentum"], 2, torch.float64)
    tokens = trained.data.inputs.clone()
    tokens[1, 2] = wrong
    with pytest.raises(IndexError, match="index out of range"):
        trained.model()(tokens)
    trained.data = Examples(tokens, trained.data.targets)
    with pytest.raises(IndexError, match="outside of the axis that it points into"):
        trained.advance(torch.arange(2)[None], [0.1])


@pytest.mark.parametrize("model", ["dropout", "series cnn", "frozen", "transformer", "lstm"])
def test_a_compiled_evaluation_gives_the_means_of_the_module(model):
    task = zoo_task(model)
    step = step_of(task, RULES["sgd"].ours, torch.float64)
    module = task.initialise(SEED).double()
    with torch.no_grad():
        module(task.train.to(torch.device("cpu"), torch.float64).inputs)  # moves running averages
    module.eval()
    state = step.start(module)
    test = task.test.to(torch.device("cpu"), torch.float64)
    look = Workbench(step, test, {"model": repr(module)}, seconds=100.0).look_at(test)
    for part in (task.test, task.train):
        exact = part.to(torch.device("cpu"), torch.float64)
        with torch.no_grad():
            outputs = module(exact.inputs)
        expected = [values(outputs, exact.targets).mean().item() for values in (task.losses, task.metric.values)]
        assert distance(look.means(state, exact), expected) <= 1e-12  # identity: the same sums in another order


def test_what_has_no_c_form_is_named():
    task = blob_task(lambda: nn.Sequential(nn.Linear(4, 3), Sorting()))
    with pytest.raises(Unsupported, match=r"the operation aten\.sort\..* has no C form"):
        Trained(task, RULES["sgd"], 8, torch.float32)


class Sorting(nn.Module):
    def forward(self, inputs):
        return inputs.sort(-1).values
