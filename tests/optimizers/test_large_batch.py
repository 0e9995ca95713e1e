"""LARS and LAMB: twins written from the papers, norms of zero, the compiled engine, and life without the extra."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from critbatch.budgets.steps import Steps
from critbatch.engine import population, sequential
from critbatch.optimizer import Optimizer
from critbatch.optimizers.lamb import LAMB
from critbatch.optimizers.lars import LARS
from tests.engine.by_hand import assert_alike
from tests.engine.test_stacked import Cohort, assert_equals_plain
from tests.problems import MODELS, blob_task, run_of
from tests.requirements import require_reference

RULES = [LARS(weight_decay=0.01, trust=0.02), LARS(momentum=0.0, clip_norm=0.3), LAMB(), LAMB(weight_decay=0.1)]


def moved(optimizer: Optimizer, start: np.ndarray, gradients: np.ndarray, rate: float) -> np.ndarray:
    parameter = torch.from_numpy(start.copy())
    slots = [torch.zeros_like(parameter) for _ in range(optimizer.slots)]
    for gradient in gradients:
        parameter, slots = optimizer.update(
            parameter, torch.from_numpy(gradient), slots, [torch.tensor(rate, dtype=torch.float64)]
        )
    return parameter.numpy()


def drawn() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.normal(size=(3, 4)), draw.normal(size=(20, 3, 4))


def test_lars_is_algorithm_one_of_its_paper():
    start, gradients = drawn()
    weights, velocity = start, np.zeros_like(start)
    for gradient in gradients:
        local = 0.02 * np.linalg.norm(weights) / (np.linalg.norm(gradient) + 0.1 * np.linalg.norm(weights))
        velocity = 0.9 * velocity + 0.5 * local * (gradient + 0.1 * weights)
        weights = weights - velocity
    found = moved(LARS(weight_decay=0.1, trust=0.02), start, gradients, 0.5)
    np.testing.assert_allclose(found, weights, rtol=1e-12)


@pytest.mark.parametrize("is_corrected", [False, True])
def test_lamb_is_algorithm_two_of_its_paper_and_its_bias_correction_changes_nothing(is_corrected):
    start, gradients = drawn()
    weights, first, second = start, np.zeros_like(start), np.zeros_like(start)
    for step, gradient in enumerate(gradients, 1):
        first, second = 0.9 * first + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
        by = (1 - 0.9**step, 1 - 0.99**step) if is_corrected else (1.0, 1.0)
        ratio = first / by[0] / (np.sqrt(second / by[1]) + 1e-12)
        weights = weights - 0.1 * np.linalg.norm(weights) / np.linalg.norm(ratio) * ratio
    found = moved(LAMB(beta2=0.99, epsilon=1e-12), start, gradients, 0.1)
    np.testing.assert_allclose(found, weights, rtol=1e-9)  # what epsilon does


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("weights", "gradients"), [(0.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_norms_of_zero_are_those_of_the_reference(rule, weights, gradients):
    require_reference(rule)
    parameter = torch.nn.Parameter(torch.full((2, 3), weights, dtype=torch.float64))
    start, steps = parameter.detach().numpy().copy(), np.full((3, 2, 3), gradients)
    built = rule.build([parameter], 0.1)
    for gradient in steps:
        parameter.grad = torch.from_numpy(gradient.copy())
        built.step()
    found = moved(rule, start, steps, 0.1)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, parameter.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("model", ["mlp", "dropout"])
def test_the_compiled_engine_has_the_plain_loops_numbers(rule, model):
    require_reference(rule)
    task = blob_task(MODELS[model])
    first = rule.first_learning_rate
    runs = tuple(
        run_of(task, learning_rate=rate, seed=seed, budget=Steps(50), dtype="float64", optimizer=rule)
        for rate, seed in ((first, 0), (first / 3, 7))
    )
    found = population.train({task.name: task}, runs, engine="population")
    assert [one.note for one in found] == ["", ""]
    assert_alike(found, sequential.train({task.name: task}, runs), 1e-10)


@pytest.mark.parametrize("rule", RULES)
def test_stacked_replicas_have_the_plain_loops_numbers(rule):
    require_reference(rule)
    assert_equals_plain(Cohort(blob_task(), (0.005, 0.01), optimizer=rule))


def test_steps_that_are_made_of_rounding_errors_are_left_to_the_plain_loop_and_it_is_said():
    # the gradient of a bias before batch normalisation is one, and LAMB gives it the length of the bias
    require_reference(LAMB())
    task = blob_task(MODELS["batch_norm"])
    runs = (run_of(task, learning_rate=0.01, budget=Steps(50), dtype="float64", optimizer=LAMB()),)
    (found,) = population.train({task.name: task}, runs, engine="population")
    assert "trained in the plain loop: its step cannot be compiled" in found.note


@pytest.mark.parametrize("bad", [{"momentum": 1.0}, {"weight_decay": -0.1}, {"trust": 0.0}, {"trust": float("inf")}])
def test_lars_refuses_what_makes_no_sense(bad):
    with pytest.raises(ValueError, match="LARS"):
        LARS(**bad)


@pytest.mark.parametrize("bad", [{"beta1": 1.0}, {"beta2": -0.1}, {"weight_decay": -0.1}, {"epsilon": 0.0}])
def test_lamb_refuses_what_makes_no_sense(bad):
    with pytest.raises(ValueError, match="LAMB"):
        LAMB(**bad)


WITHOUT = """
import sys
sys.modules["pytorch_optimizer"] = None
from typer.testing import CliRunner
from critbatch import catalog
from critbatch.cli import app
for name in ("lars", "lamb"):
    rule = catalog.load("optimizers", name)()
    assert rule.coefficients(1.0, 1.0) == (1.0,)
    try:
        rule.build([], 0.1)
    except ImportError as error:
        assert str(error) == "pytorch_optimizer is not installed. Run: pip install 'critbatch[large-batch]'", error
    else:
        raise SystemExit("built without the extra")
    for command in ("run", "noise", "probe"):
        refused = CliRunner().invoke(app, [command, "digits", "--optimizer", name])
        assert refused.exit_code == 2, refused.output
        assert refused.stderr == "error: pytorch_optimizer is not installed. Run: pip install 'critbatch[large-batch]'\\n"
assert CliRunner().invoke(app, ["run", "--help"]).exit_code == 0
"""


def test_without_the_extra_the_names_are_there_and_what_needs_it_says_how_to_install_it(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
