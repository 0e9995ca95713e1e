"""Keep the batch size when memory runs out: halve the micro-batch and do the step again."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

Value = TypeVar("Value")


class OutOfMemory(Exception):
    """Not even one example at a time fits into memory."""


def halving(size: int, buffers: Sequence[torch.Tensor], attempt: Callable[[int], Value]) -> tuple[Value, int]:
    """Return `attempt(size)` and the size that fitted, halving it for as long as memory runs out.

    Before each new attempt buffers (BatchNorm statistics) and the random state are put back, so that the step is done
    again exactly; `attempt` itself must begin by clearing gradients.

    Args:
        size: Examples per forward pass to begin with.
        buffers: What `attempt` may change and what has to be put back: the model's buffers.
        attempt: Takes a micro-batch size.

    Raises:
        OutOfMemory: If a micro-batch of one example does not fit.
        MemoryError: Never; it is what `attempt` raises when memory runs out.
        RuntimeError: What `attempt` raises for any other reason.
    """
    state = torch.get_rng_state()
    kept = [buffer.clone() for buffer in buffers]
    while True:
        try:
            return attempt(size), size
        except (MemoryError, RuntimeError) as error:
            if not is_memory(error):
                raise
            if size == 1:
                raise OutOfMemory(f"one example at a time does not fit into memory: {error}") from error
        size = max(1, size // 2)
        torch.set_rng_state(state)
        for buffer, before in zip(buffers, kept, strict=True):
            buffer.copy_(before)


def is_memory(error: Exception) -> bool:
    """Return whether an error says that memory ran out, on the device or on the host."""
    # a full device is an OutOfMemoryError, a full host a plain RuntimeError that only its text tells apart
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
