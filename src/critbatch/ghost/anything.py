"""Any other layer: its own vector-Jacobian product, one example at a time, vectorised where it can be."""

import warnings
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap
from torch.utils import _pytree as tree

from ..keras_model import KerasModel
from . import stateless
from .use import chunks, squares


@final
@dataclass(frozen=True)
class Call:
    """One call of a layer without a rule of its own: all it was given, and the gradients of all it returned.

    Args:
        layer: The layer.
        arguments: Positional and keyword arguments.
        deltas: Gradient of each returned tensor, in the order of the flattened output; None where none came back.
        example_axes: Axis of the example in each tensor of the flattened arguments, None where it has none.
        delta_axes: The same for the returned tensors.
    """

    layer: nn.Module
    arguments: tuple[tuple[Any, ...], dict[str, Any]]
    deltas: list[Tensor | None]
    example_axes: list[int | None]
    delta_axes: list[int | None]
    count: int


def squared_norms(
    call: Call, names: list[str], weights: list[dict[str, Tensor | None] | None]
) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
    """Return the squared norm of each example's gradient with respect to each of the layer's parameters `names`.

    The layer is called again, which draws nothing and changes nothing only where it has no randomness and no state:
    `is_repeatable` says so.

    Args:
        call: A call of the layer.
        names: Parameters, as the layer names them.
        weights: Of coordinates, by name, None for 1: norms are returned for each entry.

    Returns:
        The norms by name, for each entry of `weights`; and the sum of the gradients by name.
    """
    leaves, structure = tree.tree_flatten(call.arguments)
    moving = [place for place, axis in enumerate(call.example_axes) if axis is not None]
    fixed = [leaf.detach() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    is_stateless = stateless.is_stateless(call.layer)
    known = stateless.parameters(call.layer) if is_stateless else dict(call.layer.named_parameters())
    everything = {name: value.detach() for name, value in known.items()}
    again = stateless.call if is_stateless else functional_call
    trained = {name: everything[name] for name in names}
    wanted = [place for place, delta in enumerate(call.deltas) if delta is not None]

    def shares(inputs: list[Tensor], deltas: list[Tensor]) -> dict[str, Tensor]:
        def outputs(some: dict[str, Tensor]) -> list[Tensor]:
            filled = list(fixed)
            for place, value in zip(moving, inputs, strict=True):
                filled[place] = value.unsqueeze(call.example_axes[place] or 0)
            positional, keywords = tree.tree_unflatten(filled, structure)
            returned = tree.tree_leaves(again(call.layer, {**everything, **some}, positional, keywords))
            return [returned[place] for place in wanted]

        pull = vjp(outputs, trained)[1]
        back = [delta.unsqueeze(call.delta_axes[place] or 0) for place, delta in zip(wanted, deltas, strict=True)]
        return pull(back)[0]

    inputs = [fixed[place].movedim(call.example_axes[place] or 0, 0) for place in moving]
    deltas = [
        delta.movedim(call.delta_axes[place] or 0, 0) for place, delta in enumerate(call.deltas) if delta is not None
    ]
    each = vmap(shares, in_dims=0)
    found: list[dict[str, list[Tensor]]] = [{name: [] for name in names} for _ in weights]
    total = {name: torch.zeros_like(value) for name, value in trained.items()}
    for some in chunks(call.count, sum(value.numel() for value in trained.values())):
        parts = [one[some] for one in inputs], [one[some] for one in deltas]
        for name, gradients in _vectorised(each, shares, parts).items():
            total[name] += gradients.sum(0)
            for one, weight in zip(found, weights, strict=True):
                one[name].append(squares(gradients, None if weight is None else weight[name]))
    return [{name: torch.cat(parts) for name, parts in one.items()} for one in found], total


def _vectorised(each: Any, single: Any, parts: tuple[list[Tensor], list[Tensor]]) -> dict[str, Tensor]:
    """Return each example's gradients; layers that cannot be vectorised, such as LSTM, take one example at a time.

    Raises:
        OutOfMemoryError: If the device's memory does not hold them.
    """
    try:
        with warnings.catch_warnings():  # that a part of the layer is vectorised by a slow loop
            warnings.filterwarnings("ignore", "There is a performance drop")
            return each(*parts)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        one_by_one = [
            single([one[i] for one in parts[0]], [one[i] for one in parts[1]]) for i in range(len(parts[1][0]))
        ]
        return {name: torch.stack([one[name] for one in one_by_one]) for name in one_by_one[0]}


def is_repeatable(layer: nn.Module) -> bool:
    """Return whether calling the layer again gives the same and changes nothing: no active dropout, no batch statistics."""
    if stateless.is_stateless(layer):
        return stateless.is_repeatable(layer)
    for part in layer.modules():
        if not part.training:
            continue
        if isinstance(part, KerasModel) and not part.is_repeatable:
            return False
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            return False
        rate = part.p if isinstance(part, nn.modules.dropout._DropoutNd) else getattr(part, "dropout", 0)
        if isinstance(rate, int | float) and rate > 0:
            return False
    return True
