"""The local gradient of FSDP2 (`fully_shard`), read on its way into the reduce-scatter."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class TapUnavailableError(RuntimeError):
    """This PyTorch does not have the private interface that the tap needs."""


def divided_by(dtype: torch.dtype, processes: int) -> int:
    """Return by what FSDP2 divides local gradients before it sums them: other types than these two might overflow."""
    factor = 1
    if dtype not in (torch.float32, torch.bfloat16):
        while processes % factor == 0 and processes / factor > factor:
            factor *= 2
    return factor


def tap(model: nn.Module, read: Callable[[Tensor, int], None], processes: int) -> Callable[[], None]:
    """Call `read` with the flat local gradient of each sharded module, before it is reduced, and what it was divided by.

    Args:
        model: Its modules under `fully_shard` are tapped.
        read: Must not change the gradient.
        processes: That train together.

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
        def __init__(self) -> None:
            self._usual = DefaultReduceScatter()

        def allocate(self, *positional: Any, **keywords: Any) -> Tensor:
            return self._usual.allocate(*positional, **keywords)

        def __call__(self, output_tensor: Tensor, input_tensor: Tensor, *positional: Any, **keywords: Any) -> Any:
            read(input_tensor, divided_by(input_tensor.dtype, processes))
            return self._usual(output_tensor, input_tensor, *positional, **keywords)

    sharded = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for module in sharded:
        module.set_custom_reduce_scatter(Tap())

    def restore() -> None:
        for module in sharded:
            module.set_custom_reduce_scatter(DefaultReduceScatter())

    return restore
