"""The same function at another point: one layer times alpha, the next one divided by it."""

import copy
import math

import torch
from torch import nn

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
HOMOGENEOUS = (
    nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.Identity, nn.Flatten, nn.Unflatten, nn.Dropout, nn.Dropout1d, nn.Dropout2d,
    nn.Dropout3d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
    nn.AdaptiveMaxPool3d,
)  # fmt: skip


def rescaled(model: nn.Module, alpha: float, *, first: int = 0) -> nn.Module:
    """Return a copy with a layer's weights and bias times alpha and the next layer's weights divided by alpha.

    The function stays the same, since ReLU(alpha x) = alpha ReLU(x); sharpness that depends on the scale of parameters
    does not. The bias of the next layer stays as it is.

    Source: Dinh et al. (2017), arXiv:1703.04933, for layers without bias; biases, pooling and convolutions derived.

    Args:
        model: `nn.Sequential`, which may hold others: in any other module the order of layers is not known.
        alpha: Above 0.
        first: Which of the linear and convolutional layers, counted from 0, is multiplied.

    Raises:
        ValueError: If the function would not stay the same, or there are no such two layers.
    """
    if not 0 < alpha < math.inf:
        raise ValueError(f"`rescaled(alpha={alpha})`: must be above 0 and finite; ReLU keeps no negative factor.")
    changed = copy.deepcopy(model)
    modules = _in_order(changed)
    places = [place for place, one in enumerate(modules) if isinstance(one, WEIGHTED)]
    if not 0 <= first < len(places) - 1:
        raise ValueError(
            f"`rescaled(first={first})`: the model has {len(places)} linear and convolutional layers. Name the first of "
            f"two that follow each other, 0 to {len(places) - 2}."
        )
    start, end = places[first : first + 2]
    if other := next((one for one in modules[start + 1 : end] if not isinstance(one, HOMOGENEOUS)), None):
        raise ValueError(
            f"`rescaled(first={first})`: between the two layers is {other}, which does not pass a factor on. Only "
            "positively homogeneous layers may be there: ReLU and its leaky kinds, pooling, dropout, flattening."
        )
    _check_own(changed, modules[start], modules[end])
    with torch.no_grad():
        for one in modules[start].parameters():
            one.mul_(alpha)
        for name, one in modules[end].named_parameters():
            if name == "weight":
                one.div_(alpha)
    return changed


def _in_order(model: nn.Module) -> list[nn.Module]:
    """Return the layers of nested sequential containers in the order in which they are called.

    Raises:
        ValueError: If there is another kind of container.
    """
    if isinstance(model, nn.Sequential):
        return [one for child in model for one in _in_order(child)]
    if list(model.children()) and not isinstance(model, WEIGHTED):
        raise ValueError(
            f"`rescaled(model=...)`: {type(model).__name__} holds layers in an order that only its `forward` knows. Give "
            "an `nn.Sequential`."
        )
    return [model]


def _check_own(model: nn.Module, *layers: nn.Module) -> None:
    """Check that the parameters of each layer are plain, and used by that layer alone, once.

    Raises:
        ValueError: If they are not.
    """
    used = [id(value) for module in _in_order(model) for value in module.parameters()]
    for layer in layers:
        if any(used.count(id(value)) > 1 for value in layer.parameters()):
            raise ValueError(f"`rescaled(model=...)`: {layer} shares its parameters with another place of the model.")
        if set(dict(layer.named_parameters())) - {"weight", "bias"} or not isinstance(layer.weight, nn.Parameter):
            raise ValueError(f"`rescaled(model=...)`: the weights of {layer} are computed from other parameters.")
