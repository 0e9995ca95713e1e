"""The local gradient of FSDP2 (`fully_shard`), read on its way into the reduce-scatter."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class TapUnavailableError(RuntimeError):
    """This PyTorch does not have the private interface that the tap needs."""


def tap(model: nn.Module, read: Callable[[int, Tensor], None]) -> Callable[[], None]:
    """Call `read` with the number of the sharded module and its flat local gradient, before it is reduced.

    Args:
        model: Its modules under `fully_shard` are tapped.
        read: Must not change the gradient.

    Returns:
        What puts the usual reduce-scatter back.

    Raises:
        TapUnavailableError: If this PyTorch keeps it elsewhere.
    """
    try:
        from torch.distributed.fsdp import FSDPModule
        from torch.distributed.fsdp._fully_shard._fsdp_api import ReduceScatter
        from torch.distributed.fsdp._fully_shard._fsdp_collectives import DefaultReduceScatter
    except ImportError as error:
        raise TapUnavailableError(f"PyTorch {torch.__version__} has no reduce-scatter to read: {error}") from error

    class Tap(ReduceScatter):
        def __init__(self, place: int) -> None:
            self._place = place
            self._usual = DefaultReduceScatter()

        def allocate(self, *positional: Any, **keywords: Any) -> Tensor:
            return self._usual.allocate(*positional, **keywords)

        def __call__(self, output_tensor: Tensor, input_tensor: Tensor, *positional: Any, **keywords: Any) -> Any:
            read(self._place, input_tensor)
            return self._usual(output_tensor, input_tensor, *positional, **keywords)

    sharded = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for place, module in enumerate(sharded):
        module.set_custom_reduce_scatter(Tap(place))

    def restore() -> None:
        for module in sharded:
            module.set_custom_reduce_scatter(DefaultReduceScatter())

    return restore
