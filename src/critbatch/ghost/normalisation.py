"""Layers that normalise each example by itself and then scale and shift: layer, group, RMS and instance norm."""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from .use import Use, squares, wide


def _normalised(layer: Any, inputs: Tensor) -> Tensor:
    if isinstance(layer, nn.LayerNorm):
        return F.layer_norm(inputs, layer.normalized_shape, eps=layer.eps)
    if isinstance(layer, nn.GroupNorm):
        return F.group_norm(inputs, layer.num_groups, eps=layer.eps)
    if isinstance(layer, nn.RMSNorm):
        return F.rms_norm(inputs, tuple(layer.normalized_shape), eps=layer.eps)
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):  # in eval mode: by what it remembers
        return F.batch_norm(inputs, layer.running_mean, layer.running_var, eps=layer.eps)
    return F.instance_norm(inputs, eps=layer.eps)


def gradients(use: Use, name: str, some: slice) -> Tensor:
    """Return the gradients of these examples with respect to the scale or the shift: no more numbers than features."""
    deltas = wide(use.delta[some])
    if name == "weight":
        deltas = deltas * _normalised(use.layer, use.inputs[some].to(deltas.dtype))
    shape = use.layer.weight.shape
    if isinstance(use.layer, nn.LayerNorm | nn.RMSNorm):
        return deltas.reshape(len(deltas), -1, *shape).sum(1)
    return deltas.flatten(2).sum(2) if deltas.ndim > 2 else deltas


def squared_norms(use: Use, name: str, weights: Tensor | None) -> Float[Tensor, " example"]:
    """Return the squared norm of each example's gradient with respect to the scale or the shift."""
    return squares(gradients(use, name, slice(0, len(use))), weights)
