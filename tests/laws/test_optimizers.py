"""Every update rule is there twice, and both are the same rule; every one can clip."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from critbatch import catalog
from critbatch.engine.step import clipped
from critbatch.optimizer import Optimizer

STEPS = 50
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "sgd": [
        {}, {"weight_decay": 0.1}, {"momentum": 0.9}, {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
        {"momentum": 0.9, "clip_norm": 0.5},
    ],
    "adam": [{}, {"weight_decay": 0.1, "clip_norm": 0.5}, {"beta1": 0.0, "beta2": 0.5, "epsilon": 1e-3}],
    "adamw": [{}, {"weight_decay": 0.0}, {"beta1": 0.5, "beta2": 0.99, "weight_decay": 0.5, "clip_norm": 0.5}],
}  # fmt: skip
EVERY = [(name, options) for name in catalog.names("optimizers") for options in VARIANTS.get(name, [{}])]


def drawn(count: int, seed: int) -> list[list[torch.Tensor]]:
    """Return so many times the gradients of three parameters, long ones and short ones."""
    draw = torch.Generator().manual_seed(seed)
    scales = torch.rand(count, generator=draw, dtype=torch.float64).mul(6).sub(4).exp()
    shapes = ((3, 4), (5,), ())
    return [[scale * torch.randn(one, generator=draw, dtype=torch.float64) for one in shapes] for scale in scales]


def reference(optimizer: Optimizer, rates: list[float]) -> list[torch.Tensor]:
    """Return what `torch.optim` makes of the parameters, with torch's own clipping."""
    parameters = [torch.nn.Parameter(one) for one in drawn(1, 0)[0]]
    built = optimizer.build(parameters, rates[0])
    for rate, gradients in zip(rates, drawn(STEPS, 1), strict=True):
        built.param_groups[0]["lr"] = rate
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        if optimizer.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, optimizer.clip_norm)
        built.step()
    return [one.detach() for one in parameters]


def pure(optimizer: Optimizer, rates: list[float]) -> list[torch.Tensor]:
    """Return what `update` makes of the parameters."""
    parameters = drawn(1, 0)[0]
    slots = [[torch.zeros_like(one)] * optimizer.slots for one in parameters]
    table = optimizer.coefficients(np.array(rates), np.arange(1.0, STEPS + 1))
    assert all(column.shape == (STEPS,) for column in table)
    for step, gradients in enumerate(drawn(STEPS, 1)):
        row = [torch.tensor(column[step], dtype=torch.float64) for column in table]
        given = gradients if optimizer.clip_norm is None else clipped(gradients, optimizer.clip_norm)
        before = [one.clone() for one in parameters]
        moved = [optimizer.update(*one, row) for one in zip(parameters, given, slots, strict=True)]
        assert all(torch.equal(one, other) for one, other in zip(parameters, before, strict=True))
        parameters, slots = [one for one, _ in moved], [kept for _, kept in moved]
        assert all(len(kept) == optimizer.slots for kept in slots)
    return parameters


def furthest(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    return max(float(((a - b).abs() / (1 + b.abs())).max()) for a, b in zip(one, other, strict=True))


def rates_of(optimizer: Optimizer) -> list[float]:
    return [optimizer.first_learning_rate * (0.5 + step % 3) for step in range(STEPS)]


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_the_pure_update_is_the_one_of_torch(name, options):
    optimizer = catalog.load("optimizers", name)(**options)
    rates = rates_of(optimizer)
    assert furthest(pure(optimizer, rates), reference(optimizer, rates)) <= 1e-12  # identity: other order of operations


@pytest.mark.parametrize("name", catalog.names("optimizers"))
def test_a_changed_hyperparameter_is_seen(name):
    kind = catalog.load("optimizers", name)
    first, second = kind(weight_decay=0.1, clip_norm=0.5), kind(weight_decay=0.1, clip_norm=0.5001)
    assert furthest(pure(first, rates_of(first)), reference(second, rates_of(second))) > 1e-9
    third = kind(weight_decay=0.10001, clip_norm=0.5)
    assert furthest(pure(first, rates_of(first)), reference(third, rates_of(third))) > 1e-9


@pytest.mark.parametrize("name", catalog.names("optimizers"))
def test_coefficients_are_worked_out_for_many_replicas_at_once(name):
    optimizer = catalog.load("optimizers", name)()
    rates, steps = np.array([[0.1, 0.2], [0.3, 0.0]]), np.array([[1.0, 2.0], [1.0, 2.0]])
    together = optimizer.coefficients(rates, steps)
    for place in np.ndindex(2, 2):
        alone = optimizer.coefficients(rates[place].reshape(1), steps[place].reshape(1))
        assert [column[place] for column in together] == [column[0] for column in alone]


@pytest.mark.parametrize("name", catalog.names("optimizers"))
@pytest.mark.parametrize("bad", [0.0, -1.0, float("inf"), float("nan")])
def test_a_norm_that_clips_nothing_or_all_is_refused(name, bad):
    with pytest.raises(ValueError, match=r"clip_norm must be above 0 and finite\. Use None for no clipping"):
        catalog.load("optimizers", name)(clip_norm=bad)


@given(st.floats(1e-3, 1e3), st.integers(0, 100))
def test_clipping_is_that_of_torch(most, seed):
    gradients = drawn(1, seed)[0]
    parameters = [torch.nn.Parameter(torch.zeros_like(one)) for one in gradients]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient.clone()
    torch.nn.utils.clip_grad_norm_(parameters, most)
    assert furthest(clipped(gradients, most), [one.grad for one in parameters]) <= 1e-14
