"""The Bayesian evidence for a model, by Laplace's approximation around its parameters."""

import math
from dataclasses import dataclass
from typing import Literal, final

import torch

from .surface import Surface

MOST_PARAMETERS = 3000


@final
@dataclass(frozen=True)
class Evidence:
    """ln P(data | model) and what it is made of, in nats.

    Attributes:
        cost: C(w0), the summed loss plus lambda/2 |w0|^2.
        occam: 1/2 sum ln(lambda_i / lambda), what the parameters cost that the data have fixed.
        null: C of the model that gives every class the same probability: n ln(classes).
        clamped: Eigenvalues of the Hessian below lambda, each taken for lambda: such directions cost nothing.
        smallest: The smallest eigenvalue over lambda; below 1 where the loss alone curves downwards.
        unfinished: 1/2 g' H^-1 g with the clamped eigenvalues: how far C may still fall, if it were quadratic. The
            approximation is one around a minimum, and is to be trusted where this is small.
    """

    cost: float
    occam: float
    null: float
    clamped: int
    smallest: float
    unfinished: float

    @property
    def value(self) -> float:
        """Return ln P(data | model)."""
        return -self.cost - self.occam

    @property
    def ratio(self) -> float:
        """Return ln of the evidence over that of the null model: below 0, the model has learnt nothing worth its parameters."""
        return self.null + self.value


def laplace_evidence(
    surface: Surface, *, classes: int, curvature: Literal["hessian", "gauss_newton"] = "hessian"
) -> Evidence:
    """Return the evidence for a model at the surface's current point, under a normal prior of precision lambda.

    ln P(data | model) = -C(w0) - 1/2 sum ln(lambda_i / lambda), lambda_i the eigenvalues of the Hessian of C. C is the sum
    over examples, so that lambda is the surface's l2 times their number. An example's loss must be -ln P(target | input),
    as cross-entropy is. Where the loss curves downwards, lambda_i is below lambda, and may be negative: no minimum has
    that, and the integral over such a direction is not the normal one. They are taken for lambda (ours), as if the data
    said nothing, and counted; the Gauss-Newton matrix has none.

    Cost: a product for each parameter and one dense eigenvalue problem, in the precision of the parameters; take float64.

    Source: Smith and Le (2018), arXiv:1710.06451, Section 3; MacKay (1992), Neural Computation 4, 448-472.

    Args:
        surface: With an l2 above 0.
        classes: Of the null model.
        curvature: "hessian", or "gauss_newton" for its part that is never negative.

    Raises:
        ValueError: If there is no prior, or there are more than `MOST_PARAMETERS` parameters.
    """
    if not surface.l2 > 0:
        raise ValueError(
            f"`laplace_evidence`: l2={surface.l2} is no prior. Give the surface the l2 of the objective, or 1/examples "
            "for standard normal parameters."
        )
    if surface.size > MOST_PARAMETERS:
        raise ValueError(
            f"`laplace_evidence`: {surface.size} parameters need as many products; at most {MOST_PARAMETERS} are taken."
        )
    matrix = (surface.hessian() if curvature == "hessian" else surface.gauss_newton()).dense() / surface.l2
    loss, gradient = surface.loss_and_gradient()
    null = surface.count * math.log(classes)
    if not (math.isfinite(loss) and bool(matrix.isfinite().all())):
        return Evidence(math.nan, math.nan, null, 0, math.nan, math.nan)
    relative, vectors = torch.linalg.eigh(matrix)
    rounding = 10 * torch.finfo(matrix.dtype).eps * relative.abs().max()
    kept = relative.clamp(min=1.0)
    return Evidence(
        cost=surface.count * loss,
        occam=0.5 * float(kept.log().sum()),
        null=null,
        clamped=int((relative < 1 - rounding).sum()),
        smallest=float(relative[0]),
        unfinished=0.5 * surface.count / surface.l2 * float(((vectors.T @ gradient).square() / kept).sum()),
    )
