"""The gradient-norm penalty: the exact gradient of the penalised loss, and the compiled engine's numbers."""

import numpy as np
import pytest
import torch
from torch import Tensor

from critbatch.budgets.steps import Steps
from critbatch.engine import population, sequential
from critbatch.optimizers.gradient_penalty import GradientPenalty
from critbatch.samplings.repeated import Repeated
from tests.engine.by_hand import assert_alike
from tests.problems import blob_task, run_of


def quadratic(seed: int) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    factor = torch.randn(5, 5, generator=draw, dtype=torch.float64)
    return factor @ factor.T, torch.randn(5, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_two_steps_go_down_the_penalised_loss_by_autograd(strength):
    # on a quadratic the forward difference is exact
    matrix, shift = quadratic(0)
    point = torch.nn.Parameter(torch.ones(5, dtype=torch.float64))

    def gradient(at: Tensor) -> Tensor:
        return matrix @ at + shift

    wanted = point.detach().clone().requires_grad_()
    loss = wanted @ matrix @ wanted / 2 + shift @ wanted
    inner = torch.autograd.grad(loss, wanted, create_graph=True)[0]
    (loss + strength / 2 * inner.square().sum()).backward()
    built = GradientPenalty(strength=strength, length=0.05).build([point], 0.01)
    for _ in range(2):
        point.grad = gradient(point.detach())
        built.step()
    np.testing.assert_allclose(point.detach(), 1 - 0.01 * wanted.grad, rtol=1e-9)


def test_the_compiled_engine_has_the_plain_loops_numbers():
    task = blob_task()
    runs = tuple(
        run_of(
            task, learning_rate=rate, budget=Steps(50), dtype="float64", optimizer=GradientPenalty(0.5),
            sampling=Repeated(2),
        )
        for rate in (0.1, 0.4)
    )  # fmt: skip
    found = population.train({task.name: task}, runs, engine="population")
    assert [one.note for one in found] == ["", ""]
    assert_alike(found, sequential.train({task.name: task}, runs), 1e-10)


@pytest.mark.parametrize("bad", [{"strength": -0.1}, {"length": 0.0}, {"strength": float("inf")}])
def test_it_refuses_what_makes_no_sense(bad):
    with pytest.raises(ValueError, match="GradientPenalty"):
        GradientPenalty(**bad)
