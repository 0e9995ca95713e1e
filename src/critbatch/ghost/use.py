"""One call of one layer: what went in, and the gradient of what came out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

NUMBERS_AT_ONCE = 2**20  # of gradients of single examples held at once: 4 MB of float32


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
