"""Layers that keep their parameters outside of torch's registers, as Keras' do: told by what they offer, not imported.

`torch.func.functional_call` leaves such parameters as they are, without an error. Their `stateless_call` takes them.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

_COUPLE = ("BatchNormalization",)  # layers that mix the examples of a batch


def is_stateless(layer: nn.Module) -> bool:
    """Return whether a layer keeps its parameters as variables of its own."""
    return hasattr(layer, "stateless_call") and hasattr(layer, "trainable_variables")


def is_repeatable(layer: nn.Module) -> bool:
    """Return whether it may be called again for one example: it does not mix examples, and draws nothing."""
    parts = [one for one in layer.modules() if is_stateless(one)]
    if any(type(one).__name__ in _COUPLE for one in parts):
        return False
    rates = [getattr(one, name, 0) for one in parts for name in ("rate", "dropout", "recurrent_dropout")]
    return not any(isinstance(rate, int | float) and rate > 0 for rate in rates)


def parameters(layer: Any) -> dict[str, Tensor]:
    """Return all parameters of a layer by their number among its trainable variables."""
    return {str(place): variable.value for place, variable in enumerate(layer.trainable_variables)}


def call(layer: Any, values: Mapping[str, Tensor], positional: Iterable[Any], keywords: Mapping[str, Any]) -> Any:
    """Return what a layer returns with these values of all its parameters."""
    fixed = [variable.value.detach() for variable in layer.non_trainable_variables]
    return layer.stateless_call(list(values.values()), fixed, *positional, **keywords)[0]


def owned(layer: Any, names: Mapping[int, str]) -> dict[str, str]:
    """Return the measured parameters that a layer uses itself, by number; of recurrent layers those of their cells."""
    own = layer.trainable_variables if hasattr(layer, "cell") else layer._trainable_variables
    mine = {id(variable.value) for variable in own}
    found = parameters(layer)
    return {place: names[id(value)] for place, value in found.items() if id(value) in mine and id(value) in names}


def modules(model: nn.Module) -> Iterator[nn.Module]:
    """Yield all modules of a model, each once: also those that are kept in lists of their own."""
    seen: set[nn.Module] = set()
    for module in model.modules():
        found: Any = module
        below = found._flatten_layers() if is_stateless(module) else [module]
        for one in below:
            if one not in seen:
                seen.add(one)
                yield one


def inner(layer: Any) -> set[nn.Module]:
    """Return modules below a layer that are never called, or only as a part of it."""
    register = layer._modules.get("_torch_params")
    kept = set() if register is None else set(register.modules())
    return kept | {one for one in layer._flatten_layers() if one is not layer} if hasattr(layer, "cell") else kept
