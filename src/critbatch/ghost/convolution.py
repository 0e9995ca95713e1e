"""Convolutions of one to three dimensions, grouped, strided, dilated, padded in any mode."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from .linear import outer_norms
from .use import Use, chunks, squares, wide


def _padded(use: Use, some: slice) -> Tensor:
    """Return these examples' inputs with their padding around them."""
    layer, inputs = use.layer, use.inputs[some].to(use.delta.dtype)
    around = layer._reversed_padding_repeated_twice
    mode = layer.padding_mode
    return F.pad(inputs, around, mode="constant" if mode == "zeros" else mode) if any(around) else inputs


def gradients(use: Use, name: str, some: slice) -> Tensor:
    """Return the gradients of these examples with respect to the weight or the bias: one group of channels an example."""
    layer, deltas = use.layer, wide(use.delta[some])
    if name == "bias":
        return deltas.flatten(2).sum(2)
    inputs, count = wide(_padded(use, some)), len(deltas)
    weight = layer.weight
    stacked = weight.new_empty(1, dtype=deltas.dtype).expand(count * weight.shape[0], *weight.shape[1:])
    dimensions = weight.ndim - 2
    _, found, _ = torch.ops.aten.convolution_backward(
        deltas.reshape(1, -1, *deltas.shape[2:]), inputs.reshape(1, -1, *inputs.shape[2:]), stacked, None,
        layer.stride, (0,) * dimensions, layer.dilation, False, (0,) * dimensions, count * layer.groups,
        (False, True, False),
    )  # fmt: skip
    return found.reshape(count, *weight.shape)


def _windows(use: Use, some: slice) -> Float[Tensor, "example position feature"]:
    """Return what each output position saw, the groups of channels taken as further examples."""
    layer, inputs = use.layer, wide(_padded(use, some)).contiguous()
    count, channels = inputs.shape[:2]
    outer, inner = inputs.stride()[:2], inputs.stride()[2:]
    shape = (count, layer.groups, channels // layer.groups, *use.delta.shape[2:], *layer.kernel_size)
    moves = [step * stride for step, stride in zip(layer.stride, inner, strict=True)]
    reach = [step * stride for step, stride in zip(layer.dilation, inner, strict=True)]
    strides = (outer[0], outer[1] * (channels // layer.groups), outer[1], *moves, *reach)
    seen = inputs.as_strided(shape, strides)
    dimensions = len(layer.kernel_size)
    order = (0, 1, *range(3, 3 + dimensions), 2, *range(3 + dimensions, 3 + 2 * dimensions))
    places = math.prod(use.delta.shape[2:])
    return seen.permute(order).reshape(count * layer.groups, places, -1)


def squared_norms(use: Use, name: str, weights: Tensor | None) -> Float[Tensor, " example"]:
    """Return the squared norm of each example's gradient with respect to the weight or the bias.

    From the windows' products where outputs have few positions (late layers), from the gradients of a few examples at
    a time where weights are few (early layers).
    """
    layer, count = use.layer, len(use)
    if name == "bias":
        return squares(wide(use.delta).flatten(2).sum(2), weights)
    places, width = math.prod(use.delta.shape[2:]), math.prod(layer.weight.shape[1:])
    out = layer.weight.shape[0]
    if weights is not None or places * (width + out // layer.groups) >= width * out // layer.groups:
        some = chunks(count, layer.weight.numel())
        return torch.cat([squares(gradients(use, name, part), weights) for part in some])
    found = []
    for part in chunks(count, places * width * layer.groups):
        deltas = wide(use.delta[part]).reshape(-1, out // layer.groups, places).mT
        found.append(outer_norms(_windows(use, part), deltas).reshape(-1, layer.groups).sum(1))
    return torch.cat(found)
