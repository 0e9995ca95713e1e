"""The covariance of gradient noise: its spectrum without its matrix, how many directions it has, and what it is aligned with."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Product = Callable[[Tensor], Tensor]


def covariance_spectrum(gradients: Float[Tensor, "example parameter"]) -> Float[Tensor, " value"]:
    """Return the eigenvalues of the covariance D of per-example gradients, largest first, in double precision.

    D = (1/n) sum g g' - G G' with the mean G of these n gradients: the covariance of the noise of one example drawn from
    them, not an unbiased estimate (whose trace is n/(n - 1) times as large). The d x d matrix is formed only if d <= n,
    else the n x n matrix of inner products, which has the same eigenvalues but for zeros.

    Source: Chaudhari and Soatto (2017), arXiv:1710.11029, for D.

    Args:
        gradients: Of single examples, at the same parameters (`critbatch.derivatives.per_example_gradients`). Rounding
            of single precision gradients shows in the small eigenvalues: double is needed to count ranks in double.

    Returns:
        min(n, d) values in (loss per unit of parameter) squared; the other eigenvalues are 0. By rounding the smallest
        may be below 0.
    """
    centred = _centred(gradients)
    return torch.linalg.eigvalsh(_smaller(centred)).flip(0) / len(centred)


def leading_directions(
    gradients: Float[Tensor, "example parameter"], count: int
) -> tuple[Float[Tensor, " direction"], Float[Tensor, "parameter direction"]]:
    """Return the largest eigenvalues of the covariance of per-example gradients and their orthonormal eigenvectors.

    Args:
        gradients: As for `covariance_spectrum`.
        count: How many.

    Raises:
        ValueError: If the gradients do not vary in so many directions.
    """
    centred = _centred(gradients)
    values, vectors = torch.linalg.eigh(_smaller(centred))
    rank = numerical_rank(values.flip(0), size=max(centred.shape), dtype=torch.float64)
    if not 1 <= count <= rank:
        raise ValueError(
            f"`leading_directions(count={count})`: the {len(centred)} gradients vary in {rank} directions. Ask for 1 to "
            f"{rank}, or give more examples."
        )
    values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
    if _is_wide(centred):
        vectors = centred.T @ vectors / values.sqrt()
    return values / len(centred), torch.linalg.qr(vectors).Q  # again orthonormal: inner products square rounding


def _centred(gradients: Tensor) -> Tensor:
    """Return the gradients less their mean, in double precision.

    Raises:
        ValueError: If there are fewer than two, or one is not finite.
    """
    if len(gradients) < 2 or not bool(gradients.isfinite().all()):
        raise ValueError(
            f"the covariance of gradients needs at least 2 of them, all finite; got {len(gradients)}, of which "
            f"{int((~gradients.isfinite().all(1)).sum())} are not finite. Measure before the run diverges."
        )
    double = gradients.double()
    return double - double.mean(0)


def _is_wide(matrix: Tensor) -> bool:
    return matrix.shape[0] <= matrix.shape[1]


def _smaller(centred: Tensor) -> Tensor:
    return centred @ centred.T if _is_wide(centred) else centred.T @ centred


def numerical_rank(spectrum: Float[Tensor, " value"], *, size: int, dtype: torch.dtype) -> int:
    """Return how many eigenvalues are above largest x size x machine precision; 0 where none is above 0.

    A spectrum that falls off without a gap has a rank for each precision: say which.

    Source: Chaudhari and Soatto (2017), arXiv:1710.11029, whose `size` is the number of parameters d.

    Args:
        spectrum: Eigenvalues, largest first.
        size: Larger side of the matrix of gradients, max(n, d).
        dtype: Type of floating numbers whose precision is meant.
    """
    return int((spectrum > spectrum[0].clamp(min=0) * size * torch.finfo(dtype).eps).sum())


def participation_ratio(spectrum: Float[Tensor, " value"]) -> float:
    """Return (sum l)^2 / sum l^2: k for k equal eigenvalues; NaN where all are 0. Unit: directions."""
    return float(spectrum.sum().square() / spectrum.square().sum())


def effective_rank(spectrum: Float[Tensor, " value"]) -> float:
    """Return exp(-sum p log p) of the shares p of the eigenvalues: k for k equal ones; NaN where all are 0.

    Source: Roy and Vetterli (2007), EUSIPCO, Definition 1, there of singular values.

    Args:
        spectrum: Eigenvalues; those below 0, which rounding makes, count as 0.
    """
    values = spectrum.clamp(min=0)
    return float(torch.special.entr(values / values.sum()).sum().exp())


def isotropic_participation_ratios(
    examples: int, parameters: int, *, draws: int, generator: np.random.Generator
) -> np.ndarray:  # fmt: skip
    """Return participation ratios of the covariance of isotropic Gaussian gradients, shape (draw,).

    What few examples alone do to the ratio: even noise without a preferred direction has less than min(n - 1, d). The
    trace does not matter. The covariance's nonzero eigenvalues are those of a Wishart matrix of size m = min(n - 1, d)
    with max(n - 1, d) degrees of freedom, hence of B B' with a bidiagonal B of independent chi numbers: exact, with 2 m
    numbers a draw in place of n d.

    Source: Dumitriu and Edelman (2002), arXiv:math-ph/0206043, for B; with it tr(B B') and tr((B B')^2) are sums.

    Args:
        examples: n, at least 2.
        parameters: d.
        draws: How many.
        generator: Of all draws.

    Raises:
        ValueError: If there is nothing to draw.
    """
    if examples < 2 or parameters < 1 or draws < 1:
        raise ValueError(
            f"`isotropic_participation_ratios(examples={examples}, parameters={parameters}, draws={draws})`: give at "
            "least 2 examples, 1 parameter and 1 draw."
        )
    small, large = sorted((examples - 1, parameters))
    found = np.empty(draws)
    for draw in range(draws):  # squares of B: on its diagonal, and below it
        diagonal = generator.chisquare(large - np.arange(small))
        below = generator.chisquare(np.arange(small - 1, 0, -1))
        of_row = diagonal + np.append(0.0, below)
        found[draw] = of_row.sum() ** 2 / ((of_row**2).sum() + 2 * (diagonal[:-1] * below).sum())
    return found


def noise_curvature(gradients: Float[Tensor, "example parameter"], product: Product) -> float:
    """Return tr(H D) for the covariance D of per-example gradients: a sum of v'Hv over min(n, d) vectors v, exact.

    The vectors are the centred gradients over sqrt(n), or, where there are more of them than parameters, the rows of
    their triangular factor: both have D as the sum of their outer products.

    Args:
        gradients: As for `covariance_spectrum`.
        product: Returns H v for v of shape (parameter,), of the same type as the gradients.

    Returns:
        In loss cubed per (unit of parameter) to the fourth.
    """
    centred = _centred(gradients)
    rows = centred if _is_wide(centred) else torch.linalg.qr(centred, mode="r").R
    return sum(float(row @ product(row.to(gradients)).double()) for row in rows) / len(centred)


def curvature_alignment(
    gradients: Float[Tensor, "example parameter"], product: Product, *, hessian_trace: float
) -> float:  # fmt: skip
    """Return tr(H D) d / (tr H tr D): 1 for noise that does not know the curvature, above 1 along sharp directions.

    At most d for one shared direction, if H has no negative eigenvalues; with them it has no bounds.

    Source: derived; it is 1 where H or D is a multiple of the identity.

    Args:
        gradients: As for `covariance_spectrum`.
        product: As for `noise_curvature`.
        hessian_trace: tr H of the same H.
    """
    trace = float(_centred(gradients).square().sum()) / len(gradients)
    return noise_curvature(gradients, product) * gradients.shape[1] / (hessian_trace * trace)


def subspace_overlap(
    first: Float[Tensor, "parameter direction"], second: Float[Tensor, "parameter direction"]
) -> float:  # fmt: skip
    """Return the mean squared canonical cosine of two subspaces: 1 for the same one, 0 for orthogonal ones.

    Two subspaces that do not know each other have k/d on average, exactly, if one of them is uniformly random.

    Source: Bjoerck and Golub (1973), Mathematics of Computation 27, 579-594, for the cosines.

    Args:
        first: Orthonormal columns, k of them (`leading_directions`).
        second: As many, of the same parameters at another time or of another run.
    """
    return float((first.T @ second).square().sum()) / first.shape[1]


def spectral_distance(first: Float[Tensor, " value"], second: Float[Tensor, " other"]) -> float:
    """Return the Kolmogorov-Smirnov distance of two spectra: largest difference of the shares of eigenvalues below x.

    The logarithm of the eigenvalues would change nothing. Give spectra over their traces to compare shapes alone, and of
    as many examples: the eigenvalues that few examples leave at 0 are a share of the spectrum. As a number between 0 and
    1 it is descriptive: eigenvalues repel each other, so that the test's tables do not hold; compare with other seeds.

    Args:
        first: Eigenvalues, in any order.
        second: Eigenvalues of another time or run.
    """
    both = torch.cat([first, second])
    shares = [torch.searchsorted(one.sort().values, both, right=True).double() / len(one) for one in (first, second)]
    return float((shares[0] - shares[1]).abs().max())
