"""A symmetric matrix that is known by its products with vectors."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Matrix(Protocol):
    """What the spectral estimators ask of a matrix; it must be symmetric, which is not checked."""

    @property
    def size(self) -> int:
        """Return the number of rows."""
        ...

    def __matmul__(self, vector: Tensor) -> Tensor:
        """Return the product with a vector of shape (size,), on the device and in the precision of the matrix."""
        ...


def signs(matrix: Matrix, generator: torch.Generator) -> Float[Tensor, " parameter"]:
    """Return a Rademacher vector for a matrix: independent entries of 1 or -1, each half of the time."""
    return 2.0 * torch.randint(2, (matrix.size,), generator=generator, dtype=torch.float64) - 1.0
