"""Sharpness in the scale of the parameters, which rescaling of layers leaves alone."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from .directions import filter_norms
from .surface import Surface

Scale = Literal["elementwise", "filter"]
Shape = Literal["ball", "box"]
STEPS = 10


def adaptive_sharpness(
    surface: Surface, *, radius: float, scale: Scale = "elementwise", shape: Shape = "ball", steps: int = STEPS,
) -> float:  # fmt: skip
    """Return the largest L(w + s u) - L(w) that is found for |u| <= radius, s the scale of each parameter.

    The scale is |w_i| ("elementwise"), or the norm of w_i's filter ("filter", see `critbatch.minima.directions`); the
    norm of u is Euclidean ("ball") or that of its largest number ("box").

    The search is projected ascent from the centre: u moves by the radius along the gradient with respect to u,
    normalised (ball), or along its signs (box), and is brought back; the largest loss seen counts, at least that of the
    centre. The first step is that of adaptive sharpness-aware minimisation. A lower bound, 0 where the gradient is; on
    small trained networks 10 steps found three quarters or more of what 100 did.

    Invariant, where the function stays the same: elementwise under rescaling of single parameters, hence of units and
    layers; by filters under rescaling of layers. Not if the surface has an L2 penalty. Cost: `steps` + 1 passes.

    Source: Kwon et al. (2021), arXiv:2102.11600, without the constant that they add to |w_i| in training, which is not
    invariant; Andriushchenko et al. (2023), arXiv:2302.07011. The number of steps and their length are ours.

    Args:
        surface: At its current point.
        radius: Relative to the scale, without unit.
        scale: Of each parameter.
        shape: Of the neighbourhood.
        steps: Of the ascent, at least 1.

    Returns:
        In units of the loss; infinite where a loss on the way is, NaN where the centre's is.

    Raises:
        ValueError: If a number is out of range.
    """
    if not (radius > 0 and steps >= 1):
        raise ValueError(f"`adaptive_sharpness(radius={radius}, steps={steps})`: radius above 0 and at least 1 step.")
    widths = surface.point.abs() if scale == "elementwise" else filter_norms(surface, surface.point)
    start, gradient = surface.loss_and_gradient()
    if not (math.isfinite(start) and bool(gradient.isfinite().all())):
        return math.nan
    inside, largest = torch.zeros_like(widths), start
    for _ in range(steps):
        inside = _step(inside, widths * gradient, radius, shape)
        loss, gradient = surface.loss_and_gradient(surface.point + widths * inside)
        if not (math.isfinite(loss) and bool(gradient.isfinite().all())):
            return math.inf
        largest = max(largest, loss)
    return largest - start


def _step(inside: Tensor, gradient: Tensor, radius: float, shape: Shape) -> Tensor:
    if shape == "box":
        return (inside + radius * gradient.sign()).clamp(-radius, radius)
    length = torch.linalg.vector_norm(gradient)
    moved = inside + radius * gradient / length if float(length) > 0 else inside
    return moved * (radius / torch.linalg.vector_norm(moved).clamp_min(radius))


def fisher_rao_norm(surface: Surface) -> float:
    """Return the root of the mean over examples of (w' g_i)^2, with g_i the gradient of example i's loss.

    That is |w| in the metric of the empirical Fisher matrix, the one with the given labels. The penalty is not part of
    it. Invariant under any rescaling of units and layers that keeps the function, since w' g_i is. It goes to 0 with the
    losses of a fitted network: it says how large the network is in its own metric, not how curved the loss is.

    Each w' g_i is the derivative of example i's loss along w, by differentiating twice; or, where a layer does not allow
    that, a central difference of two passes forward. Layers that are marked as `once_differentiable` lose what passes
    them without an error: they are found by the mean of w' g_i, which must be w' times the gradient.

    Source: Liang et al. (2019), arXiv:1711.01530.

    Args:
        surface: At its current point.

    Returns:
        In units of the loss.
    """
    point = surface.point
    along = _derivatives_along(surface, point) if surface.is_exact else None
    if along is not None:
        mean = point @ (surface.gradient() - surface.l2 * point)
        slack = torch.finfo(point.dtype).eps ** 0.5 * float(along.abs().mean())
        along = along if abs(float(along.mean() - mean)) <= slack else None
    if along is None:
        along = _differences_along(surface, point)
    return float(along.double().square().mean().sqrt())


def _derivatives_along(surface: Surface, vector: Tensor) -> Float[Tensor, " example"] | None:
    """Return J v, J the Jacobian of the losses: the derivative of u'J v with respect to u, which is any vector.

    None where the loss cannot be differentiated twice.

    Raises:
        RuntimeError: If memory does not suffice.
    """
    point, found = surface.point.detach().requires_grad_(), []
    try:
        with sdpa_kernel(SDPBackend.MATH):
            for outputs, targets, _ in surface.passes(point):
                losses = surface.losses(outputs, targets)
                dummy = torch.zeros_like(losses, requires_grad=True)
                (turned,) = torch.autograd.grad(losses, point, dummy, create_graph=True)
                found += torch.autograd.grad(turned, dummy, vector)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        return None
    return torch.cat(found)


def _differences_along(surface: Surface, vector: Tensor) -> Float[Tensor, " example"]:
    step = torch.finfo(vector.dtype).eps ** (1 / 3)  # balances rounding and the third derivative
    ahead, behind = (surface.example_losses(surface.point + sign * step * vector) for sign in (1, -1))
    return (ahead - behind) / (2 * step)
