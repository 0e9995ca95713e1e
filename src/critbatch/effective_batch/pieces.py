"""Batches as people have them: tensors, and tuples, lists and mappings of these."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor


def tensors(batch: Any) -> Iterator[Tensor]:
    """Yield every tensor of a batch.

    Raises:
        TypeError: If there is something else in it.
    """
    if isinstance(batch, Tensor):
        yield batch
        return
    if not isinstance(batch, Mapping | tuple | list):
        raise TypeError(
            f"`EffectiveBatch.step(batch)`: {type(batch).__name__} cannot be cut. Give tensors whose first axis is the "
            "example, or tuples, lists and mappings of these."
        )
    for part in batch.values() if isinstance(batch, Mapping) else batch:
        yield from tensors(part)


def length(batch: Any) -> int:
    """Return the number of examples of a batch.

    Raises:
        ValueError: If its tensors do not agree, or there is none.
    """
    sizes = {len(one) if one.dim() else 0 for one in tensors(batch)}
    if len(sizes) != 1 or sizes == {0}:
        raise ValueError(
            f"`EffectiveBatch.step(batch)`: the first axis of every tensor must be the example, got lengths {sorted(sizes)}."
        )
    return sizes.pop()


def piece(batch: Any, start: int, stop: int) -> Any:
    """Return the examples from `start` to `stop` of a batch, in the same form."""
    if isinstance(batch, Tensor):
        return batch[start:stop]
    if isinstance(batch, Mapping):
        return {key: piece(part, start, stop) for key, part in batch.items()}
    parts = [piece(part, start, stop) for part in batch]
    return parts if isinstance(batch, list) else tuple(parts)


def cut(batch: Any, count: int, size: int) -> Iterator[Any]:
    """Yield pieces of `size` examples, the last one smaller if need be."""
    for start in range(0, count, size):
        yield piece(batch, start, min(start + size, count))
