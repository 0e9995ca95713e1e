"""One call of one layer: what went in, and the gradient of what came out."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree as tree

NUMBERS_AT_ONCE = 2**17  # of gradients of single examples held at once: half a MB of float32


@final
@dataclass(frozen=True)
class Use:
    """One call of a layer in a forward pass, with the gradient that came back to its output.

    `inputs` and `delta` start with the example. `delta` is the gradient of the loss that was differentiated, which is
    mostly a mean over the batch: what follows from it are the examples' shares of the batch gradient.
    """

    layer: Any  # nn.Module, with the attributes of its kind
    inputs: Tensor
    delta: Tensor

    def __len__(self) -> int:
        return len(self.delta)

    @cached_property
    def delta_norms(self) -> Float[Tensor, " example"]:
        """Return the norm of each example's output gradient: weight and bias both ask for it."""
        return torch.linalg.vector_norm(wide(self.delta.flatten(1)), dim=1)


def leaves_of(values: Any) -> Iterator[Any]:
    """Yield what is in nested arguments or outputs, in order: `transformers` returns mappings of its own."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for one in values.values():
            yield from leaves_of(one)
    elif isinstance(values, list | tuple):
        for one in values:
            yield from leaves_of(one)
    else:
        yield from tree.tree_leaves(values)


def wide(values: Tensor) -> Tensor:
    """Return half-precision values in float32, others as they are: norms are summed in no less."""
    return values.float() if values.dtype.itemsize < 4 else values


def chunks(count: int, numbers: int) -> Iterator[slice]:
    """Yield slices of `count` examples of `numbers` numbers each, none of which holds more than NUMBERS_AT_ONCE."""
    size = max(1, NUMBERS_AT_ONCE // max(numbers, 1))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def squares(gradients: Tensor, weights: Tensor | None) -> Float[Tensor, " example"]:
    """Return the squared norm of each example's gradient, each coordinate's square times its weight.

    Args:
        gradients: The first axis is the example's.
        weights: Of the coordinates, without the example's axis; None for 1.
    """
    flat = wide(gradients.flatten(1))
    if weights is None:
        return flat.square().sum(1)
    return flat.square() @ weights.flatten().to(flat)
