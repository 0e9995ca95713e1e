"""Which parameters are trained, and which layers, parameter groups and normalising layers they make."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from ..ghost import stateless
from .history import Parts

_NORMS = (
    nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm
)  # fmt: skip


def held(optimizer: Any) -> list[int]:
    """Return the identities of the parameters that the optimizer trains."""
    return [id(one) for group in optimizer.param_groups for one in group["params"] if one.requires_grad]


def trained(model: nn.Module, optimizer: Any) -> dict[str, nn.Parameter]:
    """Return the parameters of the model that the optimizer trains, by name; tied ones once."""
    known = set(held(optimizer))
    return {_clean(name): one for name, one in model.named_parameters() if id(one) in known}


def _clean(name: str) -> str:
    """Return the name with dots where Keras has paths, which say the layer."""
    return name.rpartition("_torch_params.")[2].replace("/", ".")


def parts_of(model: nn.Module, optimizer: Any, named: Mapping[str, nn.Parameter]) -> Parts:
    """Return the places of the parameters of each layer, each group, and all normalising layers."""
    place = {id(one): i for i, one in enumerate(named.values())}
    layers: dict[str, list[int]] = {}
    for i, name in enumerate(named):
        layers.setdefault(name.rpartition(".")[0] or name, []).append(i)
    groups = {
        str(group.get("name", i)): [place[id(one)] for one in group["params"] if id(one) in place]
        for i, group in enumerate(optimizer.param_groups)
    }
    norms = [place[id(one)] for layer in stateless.modules(model) for one in _of_norm(layer) if id(one) in place]
    return Parts(layers, {name: places for name, places in groups.items() if places}, norms)


def _of_norm(layer: nn.Module) -> Iterable[Tensor]:
    """Return the parameters of a normalising layer, none of another."""
    if stateless.is_stateless(layer):
        return stateless.parameters(layer).values() if type(layer).__name__.endswith("Normalization") else ()
    is_norm = isinstance(layer, _NORMS) or type(layer).__name__.endswith(("RMSNorm", "LayerNorm"))
    return layer.parameters(recurse=False) if is_norm else ()
