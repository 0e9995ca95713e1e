"""Eigenvalues at the ends of a spectrum, from products with vectors."""

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float
from scipy.linalg import eigh_tridiagonal
from torch import Tensor

from .matrix import Matrix

End = Literal["largest", "smallest"]


@final
@dataclass(frozen=True)
class Eigenpairs:
    """Eigenvalues at one end of a spectrum, the outermost first.

    `residuals` are |A v - value v|: within that distance of each value there is an eigenvalue. `converged` says whether
    all residuals are within the tolerance. NaN where a product was not finite.
    """

    values: Float[np.ndarray, " pair"]
    vectors: Float[Tensor, "parameter pair"]
    residuals: Float[np.ndarray, " pair"]
    products: int
    converged: bool


@final
class Krylov:
    """An orthonormal basis in which a matrix is tridiagonal, grown by one vector and one product at a time.

    Each new vector is orthogonalised against all before it, and again where that took much of it away: without this,
    eigenvalues that have converged come again as copies. The basis is in the precision of the products.

    Source: Lanczos (1950), Journal of Research of the National Bureau of Standards 45, 255-282; Parlett (1998), The
    Symmetric Eigenvalue Problem, Chapter 13, and Section 6.9 for when to orthogonalise twice.

    Args:
        matrix: Symmetric.
        start: First direction, of any length above 0.
        most: Vectors that there is room for.
    """

    def __init__(self, matrix: Matrix, start: Float[Tensor, " parameter"], most: int) -> None:
        self._matrix, self._most = matrix, most
        self._start = start.double() / torch.linalg.vector_norm(start.double())
        self._basis = start.new_empty((0, matrix.size))
        self._diagonal: list[float] = []
        self._beside: list[float] = []  # beside the diagonal; the last is the length of what is left over

    def __len__(self) -> int:
        return len(self._diagonal)

    @property
    def basis(self) -> Float[Tensor, "vector parameter"]:
        """Return the orthonormal vectors."""
        return self._basis[: len(self)]

    @property
    def precision(self) -> float:
        """Return up to which part of the largest number the products are taken for exact: 100 roundings (ours)."""
        return 100 * torch.finfo(self._basis.dtype).eps

    @property
    def is_finite(self) -> bool:
        """Return whether all products were finite."""
        return bool(np.isfinite([*self._diagonal, *self._beside]).all())

    @property
    def is_exhausted(self) -> bool:
        """Return whether the last product brought nothing new: the basis spans an invariant subspace."""
        return self._beside[-1] <= self.precision * max(map(abs, [*self._diagonal, *self._beside[:-1]]))

    def grow(self) -> None:
        """Take one product."""
        at = len(self)
        product = self._matrix @ (self._basis[at] if at else self._start)
        if not at:
            self._basis = product.new_empty((self._most, self._matrix.size))
            self._basis[0] = self._start
        self._diagonal.append(float(self._basis[at] @ product))
        known = product.new_tensor([*self._beside[-1:], self._diagonal[-1]])
        self._leave(torch.addmv(product, self._basis[at + 1 - len(known) : at + 1].T, known, alpha=-1))

    def turn(self, direction: Float[Tensor, " parameter"]) -> None:
        """Go on in another direction, which a basis that is exhausted needs."""
        self._beside.pop()
        self._leave(direction.to(self._basis))
        self._beside[-1] = 0.0

    def pairs(
        self, first: int, last: int
    ) -> tuple[Float[np.ndarray, " pair"], Float[np.ndarray, "vector pair"], Float[np.ndarray, " pair"]]:
        """Return eigenvalues `first` to `last`, ascending, of the tridiagonal matrix, its eigenvectors, and residuals."""
        found = eigh_tridiagonal(self._diagonal, self._beside[:-1], select="i", select_range=(first, last))
        values, vectors = np.asarray(found[0]), np.asarray(found[1])
        return values, vectors, np.abs(self._beside[-1] * vectors[-1])

    def _leave(self, rest: Tensor) -> None:
        """Make the next vector of what the basis leaves of a vector, where there is room."""
        for _ in range(2):
            taken = self.basis @ rest
            rest = torch.addmv(rest, self.basis.T, taken, alpha=-1)
            left = float(torch.linalg.vector_norm(rest))
            if left > float(torch.linalg.vector_norm(taken)):
                break
        self._beside.append(left)
        if len(self) < self._most:
            torch.div(rest, left, out=self._basis[len(self)])


def lanczos(
    matrix: Matrix, generator: torch.Generator, *, count: int = 1, end: End = "largest", steps: int = 100,
    tolerance: float = 1e-3, start: Float[Tensor, " parameter"] | None = None,
) -> Eigenpairs:  # fmt: skip
    """Return the largest or the smallest eigenvalues of a symmetric matrix; the sign counts, not the size.

    Stops when every residual is within `tolerance` of its eigenvalue's size. The error of an eigenvalue that lies apart
    from the others is of the order of the squared residual: 1e-6 of its size for 1e-3. An eigenvalue that occurs several
    times is found once, unless its copies follow from a new random direction, which is taken wherever the products span
    no more; then no fewer than `count` + 1 directions are tried.

    Source: as `Krylov`; the residual is Parlett's |beta s|, Section 13.2.

    Args:
        matrix: Symmetric.
        generator: For directions, on the CPU.
        count: How many eigenvalues.
        end: Which.
        steps: At most so many products.
        tolerance: Relative residual; 0 takes all the steps.
        start: First direction; a normal one if None.

    Raises:
        ValueError: If there are fewer steps or rows than eigenvalues asked for, or the start is 0 or of another size.
    """
    most = min(steps, matrix.size)
    if not 1 <= count <= most:
        raise ValueError(
            f"`lanczos(count={count}, steps={steps})`: a matrix of {matrix.size} rows and so many steps have at most {most} "
            "eigenvalues. Ask for 1 or more, and fewer than that."
        )
    if start is not None and (start.shape != (matrix.size,) or not float(torch.linalg.vector_norm(start)) > 0):
        raise ValueError(
            f"`lanczos(start=...)`: give {matrix.size} numbers, not all 0, got shape {tuple(start.shape)}."
        )
    space = Krylov(matrix, _normal(matrix, generator) if start is None else start, most)
    directions = 1
    while len(space) < most:
        space.grow()
        if not space.is_finite:
            return _nothing(space, count)
        if len(space) == most:
            break
        if space.is_exhausted:
            if directions > count and len(space) >= count:
                break
            directions += 1
            space.turn(_normal(matrix, generator))
        elif directions == 1 and tolerance and len(space) >= count and _pairs(space, count, end, tolerance)[-1]:
            break
    values, vectors, residuals, converged = _pairs(space, count, end, tolerance)
    rotated = space.basis.T @ torch.from_numpy(vectors).to(space.basis)
    return Eigenpairs(values, rotated, residuals, len(space), converged)


def _pairs(space: Krylov, count: int, end: End, tolerance: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    """Return the outermost values, their vectors in the basis, residuals, and whether these are small enough."""
    if end == "largest":
        values, vectors, residuals = (one[..., ::-1] for one in space.pairs(len(space) - count, len(space) - 1))
    else:
        values, vectors, residuals = space.pairs(0, count - 1)
    wanted = max(tolerance, space.precision) * np.abs(values)
    return values.copy(), vectors.copy(), residuals.copy(), bool((residuals <= wanted).all())


def _normal(matrix: Matrix, generator: torch.Generator) -> Tensor:
    return torch.randn(matrix.size, generator=generator, dtype=torch.float32)  # a direction needs no more digits


def _nothing(space: Krylov, count: int) -> Eigenpairs:
    lost = np.full(count, np.nan)
    return Eigenpairs(lost, space.basis.new_full((space.basis.shape[1], count), torch.nan), lost, len(space), False)
