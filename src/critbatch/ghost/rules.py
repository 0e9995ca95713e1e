"""Which rule a layer follows, and the norms of a parameter that was used by one layer or by several."""

from collections.abc import Sequence
from types import ModuleType

import torch
from jaxtyping import Float
from torch import Tensor, nn

from . import convolution, embedding, linear, normalisation
from .use import Use, chunks, squares

_RULES: tuple[tuple[type[nn.Module], ModuleType], ...] = (
    (nn.Linear, linear),
    (nn.Conv1d, convolution), (nn.Conv2d, convolution), (nn.Conv3d, convolution),
    (nn.Embedding, embedding),
    (nn.LayerNorm, normalisation), (nn.GroupNorm, normalisation), (nn.RMSNorm, normalisation),
    (nn.InstanceNorm1d, normalisation), (nn.InstanceNorm2d, normalisation), (nn.InstanceNorm3d, normalisation),
)  # fmt: skip
_OF_SEVERAL = (linear, embedding)
ROW_WISE = (linear, embedding, normalisation)  # rows of one example may come one after the other


def rule_of(layer: nn.Module) -> ModuleType | None:
    """Return the rule for a layer, None where it has none: a subclass with a forward of its own is another layer."""
    if linear.is_transposed(layer):
        return linear
    if isinstance(layer, nn.Embedding) and (layer.scale_grad_by_freq or layer.max_norm is not None):
        return None
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # it couples the examples, unless it uses what it remembers
        return normalisation if not layer.training and layer.track_running_stats else None
    for kind, rule in _RULES:
        if isinstance(layer, kind) and type(layer).forward is kind.forward:
            return rule
    return None


def squared_norms(uses: Sequence[tuple[Use, str]], weights: Tensor | None) -> Float[Tensor, " example"]:
    """Return the squared norm of each example's gradient with respect to one parameter.

    A parameter with several uses (tied weights, a layer called twice) has the sum of their gradients: its norm is not
    the sum of the norms.

    Args:
        uses: Uses of the parameter, with its name in that layer.
        weights: Of the squares of its coordinates; None for 1.
    """
    if len(uses) == 1:
        use, name = uses[0]
        return _rule(use).squared_norms(use, name, weights)
    if weights is None and all(name == "weight" and _rule(use) in _OF_SEVERAL for use, name in uses):
        dense = [use for use, _ in uses if _rule(use) is linear]
        looked_up = [use for use, _ in uses if _rule(use) is embedding]
        if len(looked_up) <= 1 and not any(linear.is_transposed(use.layer) for use in dense):
            return _tied(dense, looked_up)
    first = uses[0][0]
    return torch.cat([
        squares(_sum([_rule(use).gradients(use, name, some) for use, name in uses]), weights)
        for some in chunks(len(first), getattr(first.layer, uses[0][1]).numel())
    ])  # fmt: skip


def total(uses: Sequence[tuple[Use, str]]) -> Tensor:
    """Return the sum of the examples' gradients with respect to one parameter: what backward must have found."""
    return _sum([_total(use, name) for use, name in uses])


def _total(use: Use, name: str) -> Tensor:
    rule = _rule(use)
    if rule in _OF_SEVERAL:
        return rule.total(use, name)
    parameter = getattr(use.layer, name)
    return _sum([rule.gradients(use, name, some).sum(0) for some in chunks(len(use), parameter.numel())])


def _sum(parts: Sequence[Tensor]) -> Tensor:
    found = parts[0]
    for one in parts[1:]:
        found = found + one
    return found


def _rule(use: Use) -> ModuleType:
    rule = rule_of(use.layer)
    assert rule is not None  # no use is made of a layer without one
    return rule


def _tied(dense: Sequence[Use], looked_up: Sequence[Use]) -> Float[Tensor, " example"]:
    """Return norms of one weight used by linear layers, whose positions are simply more of them, and by an embedding."""
    inputs = torch.cat([linear.positions(use.inputs) for use in dense], 1)
    deltas = torch.cat([linear.positions(use.delta) for use in dense], 1)
    norms = linear.outer_norms(inputs, deltas)
    for use in looked_up:
        cross = sum(embedding.product_with_linear(use, one) for one in dense)
        norms = norms + embedding.squared_norms(use, "weight", None) + 2 * cross
    return norms
