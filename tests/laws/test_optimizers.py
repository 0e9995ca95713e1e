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
from tests.requirements import require_reference

STEPS = 50
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "sgd": [
        {}, {"weight_decay": 0.1}, {"momentum": 0.9}, {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1},
        {"momentum": 0.9, "clip_norm": 0.5},
    ],
    "adam": [{}, {"weight_decay": 0.1, "clip_norm": 0.5}, {"beta1": 0.0, "beta2": 0.5, "epsilon": 1e-3}],
    "adamw": [{}, {"weight_decay": 0.0}, {"beta1": 0.5, "beta2": 0.99, "weight_decay": 0.5, "clip_norm": 0.5}],
    "lars": [
        {}, {"weight_decay": 0.1, "trust": 0.5}, {"momentum": 0.0, "weight_decay": 0.1},
        {"momentum": 0.5, "trust": 0.02, "clip_norm": 0.5},
    ],
    "lamb": [{}, {"weight_decay": 0.1, "clip_norm": 0.5}, {"beta1": 0.0, "beta2": 0.5, "epsilon": 1e-3}],
    "proximal": [{}, {"inner_steps": 1}, {"inner_steps": 4, "strength": 2.0, "clip_norm": 0.5}, {"strength": 0.0}],
    "block_sequential": [{}, {"blocks": 1}, {"blocks": 3}, {"blocks": 5, "clip_norm": 0.5}],
    "gradient_penalty": [{}, {"strength": 0.0}, {"strength": 2.0, "length": 0.5, "clip_norm": 0.5}],
    "block_gradient_penalty": [
        {}, {"blocks": 1, "strength": 0.0}, {"blocks": 3, "strength": 2.0, "length": 0.5, "most": 0.5, "clip_norm": 0.5},
    ],
}  # fmt: skip
# A hyperparameter of each rule with two values that are hard to tell apart
NEARLY: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "proximal": ({"strength": 0.1}, {"strength": 0.10001}), "block_sequential": ({"blocks": 2}, {"blocks": 3}),
    "gradient_penalty": ({"strength": 0.01}, {"strength": 0.010001}),
    "block_gradient_penalty": ({"strength": 0.01, "most": 0.1}, {"strength": 0.010001, "most": 0.1}),
}  # fmt: skip
EVERY = [(name, options) for name in catalog.names("optimizers") for options in VARIANTS.get(name, [{}])]


def drawn(count: int, seed: int) -> list[list[torch.Tensor]]:
    """Return so many times the gradients of some parameters, long ones and short ones."""
    draw = torch.Generator().manual_seed(seed)
    scales = torch.rand(count, generator=draw, dtype=torch.float64).mul(6).sub(4).exp()
    shapes = ((3, 4), (5,), (), (2, 3), (1, 2, 2), (2,))
    return [[scale * torch.randn(one, generator=draw, dtype=torch.float64) for one in shapes] for scale in scales]


def reference(optimizer: Optimizer, rates: list[float]) -> list[torch.Tensor]:
    """Return what the reference makes of the parameters, with torch's own clipping."""
    require_reference(optimizer)
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
    """Return what `update_all` makes of the parameters."""
    parameters = drawn(1, 0)[0]
    slots = [[torch.zeros_like(one)] * optimizer.slots for one in parameters]
    table = optimizer.coefficients(np.array(rates), np.arange(1.0, STEPS + 1))
    assert all(column.shape == (STEPS,) for column in table)
    for step, gradients in enumerate(drawn(STEPS, 1)):
        row = [torch.tensor(column[step], dtype=torch.float64) for column in table]
        given = gradients if optimizer.clip_norm is None else clipped(gradients, optimizer.clip_norm)
        before = [one.clone() for one in parameters]
        moved, kept = optimizer.update_all(parameters, given, slots, row)
        assert all(torch.equal(one, other) for one, other in zip(parameters, before, strict=True))
        parameters, slots = moved, kept
        assert all(len(one) == optimizer.slots for one in slots)
    return parameters


def furthest(one: list[torch.Tensor], other: list[torch.Tensor]) -> float:
    return max(float(((a - b).abs() / (1 + b.abs())).max()) for a, b in zip(one, other, strict=True))


def rates_of(optimizer: Optimizer) -> list[float]:
    return [optimizer.first_learning_rate * (0.5 + step % 3) for step in range(STEPS)]


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_the_pure_update_is_the_one_of_the_reference(name, options):
    optimizer = catalog.load("optimizers", name)(**options)
    rates = rates_of(optimizer)
    assert furthest(pure(optimizer, rates), reference(optimizer, rates)) <= 1e-12  # identity: other order of operations


@pytest.mark.parametrize("name", catalog.names("optimizers"))
def test_a_changed_hyperparameter_is_seen(name):
    kind = catalog.load("optimizers", name)
    options, nearly = NEARLY.get(name, ({"weight_decay": 0.1}, {"weight_decay": 0.10001}))
    first, second = kind(**options, clip_norm=0.5), kind(**options, clip_norm=0.5001)
    assert furthest(pure(first, rates_of(first)), reference(second, rates_of(second))) > 1e-9
    third = kind(**nearly, clip_norm=0.5)
    assert furthest(pure(first, rates_of(first)), reference(third, rates_of(third))) > 1e-9


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_parameter_by_itself_moves_as_among_others_of_its_kind(name, options):
    optimizer = catalog.load("optimizers", name)(**options)
    (parameter, *_), (gradient, *_) = drawn(1, 0)[0], drawn(1, 1)[0]
    slots = [torch.full_like(parameter, 0.5) for _ in range(optimizer.slots)]
    row = [torch.tensor(one[0]) for one in optimizer.coefficients(np.array([0.1]), np.array([1.0]))]
    (alone,), (kept,) = optimizer.update_all([parameter], [gradient], [slots], row)
    expected, other = optimizer.update(parameter, gradient, slots, row)
    assert torch.equal(alone, expected)
    assert all(torch.equal(one, two) for one, two in zip(kept, other, strict=True))


@pytest.mark.parametrize(("name", "options"), EVERY)
def test_a_rule_begins_anew_after_its_cycle(name, options):
    optimizer = catalog.load("optimizers", name)(**options)
    rates, steps = np.full(12, 0.1), 1e6 + np.arange(12.0)  # Adam's corrections have died away by then
    table = np.stack(optimizer.coefficients(rates, steps))
    assert np.array_equal(table[:, optimizer.cycle :], table[:, : -optimizer.cycle])
    assert all(not np.array_equal(table[:, by:], table[:, :-by]) for by in range(1, optimizer.cycle))


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
