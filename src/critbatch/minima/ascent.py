"""How far one step along the gradient raises the loss: the sharpness of sharpness-aware minimisation."""

import math

import torch
from torch import Tensor

from ..estimate import Estimate
from ..statistics.means import margin
from .surface import Surface

RADIUS = 0.05  # Foret et al. (2021), Section 3.1, of their grid the best for CIFAR


def ascent_sharpness(surface: Surface, *, radius: float = RADIUS) -> float:
    """Return L(w + radius g/|g|) - L(w), with g the gradient of L at w: two passes.

    To first order it is radius |g|, the largest rise in the ball; it need not be the largest one, and may be below 0.
    0 where g is 0. Not invariant under rescaling of layers.

    Source: Foret et al. (2021), arXiv:2010.01412, Equation 2 and Section 2.

    Args:
        surface: At its current point.
        radius: In units of a parameter, above 0.

    Returns:
        In units of the loss.

    Raises:
        ValueError: If the radius is not above 0.
    """
    if not radius > 0:
        raise ValueError(f"`ascent_sharpness(radius={radius})`: must be above 0.")
    start, gradient = surface.loss_and_gradient()
    length = torch.linalg.vector_norm(gradient)
    if float(length) == 0:
        return 0.0
    return surface.loss_and_gradient(surface.point + radius / length * gradient)[0] - start


def micro_batch_ascent_sharpness(
    surface: Surface, *, size: int, generator: torch.Generator, radius: float = RADIUS, level: float = 0.95
) -> Estimate:  # fmt: skip
    """Return the mean of `ascent_sharpness` over groups of `size` examples, each with its own gradient and loss.

    The set is cut into groups after a random permutation; a smaller rest is left out. The mean rises as the size falls:
    gradients of few examples are longer. Hence always with its size.

    Source: Foret et al. (2021), arXiv:2010.01412, Section 4.1 (m-sharpness).

    Args:
        surface: At its current point.
        size: Examples in a group (m).
        generator: On the CPU.
        radius: In units of a parameter.
        level: Of Student's interval over groups, taken for independent.

    Raises:
        ValueError: If there are fewer examples than one group needs.
    """
    if not 1 <= size <= surface.count:
        raise ValueError(
            f"`micro_batch_ascent_sharpness(size={size})`: the surface has {surface.count} examples. Give 1 to that many."
        )
    order = torch.randperm(surface.count, generator=generator)[: surface.count // size * size].to(surface.inputs.device)
    groups = [surface.on(surface.inputs[some], surface.targets[some]) for some in order.split(size)]
    values = torch.tensor([ascent_sharpness(one, radius=radius) for one in groups], dtype=torch.float64)
    return _mean(values, definition=f"L_m(w + {radius:g} g/|g|) - L_m(w), groups of m = {size}", level=level)


def _mean(values: Tensor, *, definition: str, level: float) -> Estimate:
    if not bool(values.isfinite().all()):
        return Estimate.missing("a loss is not finite", unit="loss", definition=definition, count=len(values))
    value, half = float(values.mean()), margin(values.numpy(), level)
    low, high = (value - half, value + half) if math.isfinite(half) else (None, None)
    return Estimate(value, low, high, level, len(values), "loss", "mean over groups, Student t", definition)
