"""What processes tell one another: one row of numbers from each, once in a measured step."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist


def world_size(group: Any = None) -> int:
    """Return the number of processes that train together, 1 without a process group."""
    return dist.get_world_size(group) if dist.is_available() and dist.is_initialized() else 1


def gathered(numbers: np.ndarray, device: torch.device, group: Any = None) -> np.ndarray:
    """Return the numbers of every process, one row each; every process must call it.

    They travel in float64 where the device has it, else in float32.
    """
    count = world_size(group)
    if count == 1:
        return numbers[None]
    kind = torch.float32 if device.type == "mps" else torch.float64
    mine = torch.as_tensor(numbers, dtype=kind, device=device)
    rows = [torch.empty_like(mine) for _ in range(count)]
    dist.all_gather(rows, mine, group=group)
    return torch.stack(rows).cpu().double().numpy()


def local(value: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds."""
    return value.to_local() if hasattr(value, "to_local") else value


def copies(parameter: Any, group: Any = None) -> int:
    """Return how many processes hold the same part of a parameter: all for replicas, 1 for shards."""
    if not hasattr(parameter, "placements"):
        return world_size(group)
    replicas = world_size(group) // parameter.device_mesh.size()  # meshes beside one another hold the same
    for axis, placement in enumerate(parameter.placements):
        if placement.is_replicate():
            replicas *= parameter.device_mesh.size(axis)
    return replicas


def is_sharded(model: nn.Module) -> bool:
    """Return whether a parameter of the model is split over processes."""
    return any(hasattr(one, "placements") for one in model.parameters())
