"""How the eigenvalues of a matrix are spread: its spectral density, from products with random vectors."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float

from .lanczos import Krylov
from .matrix import Matrix, signs


@final
@dataclass(frozen=True)
class Density:
    """A spectral density convolved with a normal density of standard deviation `width`: its integral is 1.

    `errors` are standard errors of the mean over probes. That the spectrum is smoothed is no error of the estimate.
    """

    grid: Float[np.ndarray, " point"]
    values: Float[np.ndarray, " point"]
    errors: Float[np.ndarray, " point"]
    width: float


@final
@dataclass(frozen=True)
class Quadrature:
    """Nodes and weights, the weights of a probe summing to 1: the mean of a function over the eigenvalues is a sum.

    Exact in the mean over probes for polynomials up to degree 2 steps - 1. A probe that needed fewer steps, since its
    products span no more, has weights of 0 at its end.
    """

    nodes: Float[np.ndarray, "probe node"]
    weights: Float[np.ndarray, "probe node"]

    def density(self, grid: Float[np.ndarray, " point"], *, width: float) -> Density:
        """Return the density on a grid, smoothed with a normal density.

        Details finer than about the spectrum's range over the number of nodes are not resolved by the nodes: a smaller
        width shows where nodes lie, not eigenvalues.

        Args:
            grid: Eigenvalues at which to return it.
            width: Standard deviation, in the unit of an eigenvalue, above 0.

        Raises:
            ValueError: If the width is not above 0.
        """
        if not width > 0:
            raise ValueError(f"`Quadrature.density(width={width})`: must be above 0.")
        far = (grid[:, None, None] - self.nodes) / width
        heights = np.exp(-(far**2) / 2) / (width * (2 * np.pi) ** 0.5)
        each = (heights * self.weights).sum(-1)
        return Density(grid, each.mean(1), each.std(1, ddof=1) / each.shape[1] ** 0.5, width)


def quadrature(matrix: Matrix, generator: torch.Generator, *, probes: int = 10, steps: int = 60) -> Quadrature:
    """Return nodes and weights that stand for the spectrum of a symmetric matrix, by stochastic Lanczos quadrature.

    Each probe z of random signs has the spectral measure z'f(A)z / n, of which Lanczos' tridiagonal matrix gives the Gauss
    quadrature: its eigenvalues, weighed by the squared first entries of its eigenvectors. The mean over probes is that of
    f over the eigenvalues. Cost: `probes` times `steps` products at most.

    Source: Ghorbani, Krishnan and Xiao (2019), arXiv:1901.10159, Section 2; Golub and Welsch (1969), Mathematics of
    Computation 23, 221-230.

    Args:
        matrix: Symmetric.
        generator: For the probes, on the CPU.
        probes: At least 2, of which the errors are taken.
        steps: Nodes of each probe.

    Raises:
        ValueError: If there are too few probes or no steps, or a product is not finite.
    """
    if probes < 2 or steps < 1:
        raise ValueError(f"`quadrature(probes={probes}, steps={steps})`: give at least 2 probes and 1 step.")
    most = min(steps, matrix.size)
    nodes, weights = np.zeros((probes, most)), np.zeros((probes, most))
    for probe in range(probes):
        space = Krylov(matrix, signs(matrix, generator), most)
        while len(space) < most and not (len(space) and space.is_exhausted):
            space.grow()
            if not space.is_finite:
                raise ValueError(f"`quadrature`: product {len(space)} of probe {probe} is not finite.")
        count = len(space)
        values, vectors, _ = space.pairs(0, count - 1)
        nodes[probe, :count], weights[probe, :count] = values, vectors[0] ** 2
    return Quadrature(nodes, weights)
