"""Directions in parameter space, in the scale of the parameters: a filter at a time."""

import torch
from jaxtyping import Float
from torch import Tensor

from .surface import Surface


def filter_norms(surface: Surface, vector: Float[Tensor, " parameter"]) -> Float[Tensor, " parameter"]:
    """Return at each parameter the Euclidean norm of `vector` over its filter.

    A filter is what one output unit weighs its inputs with: one index of the first axis of a linear layer's or a
    convolution's weights. Parameters with one axis, such as biases, are filters of one number each.

    Source: Li et al. (2018), arXiv:1712.09913, Section 4, for filters; that biases stand alone is ours.
    """
    norms = [
        piece.flatten(1).norm(dim=1, keepdim=True).expand(-1, piece[0].numel()) if piece.dim() > 1 else piece.abs()
        for piece in surface.named(vector.detach()).values()
    ]
    return torch.cat([one.flatten() for one in norms])


def filter_normalised(surface: Surface, direction: Float[Tensor, " parameter"]) -> Float[Tensor, " parameter"]:
    """Return a direction, each of its filters as long as the same filter of the current point.

    Biases and parameters of normalising layers, those with one axis, get 0 (ours: as numbers they have a sign, and no
    direction). Where two layers are rescaled by alpha and 1/alpha, the losses along a direction stay the same.

    Source: Li et al. (2018), arXiv:1712.09913, Section 4.
    """
    here, there = (filter_norms(surface, one) for one in (surface.point, direction))
    ratio = torch.where(there > 0, here / there, 0.0)
    several = [torch.full_like(piece, float(piece.dim() > 1)) for piece in surface.named(direction).values()]
    return direction * ratio * torch.cat([one.flatten() for one in several])


def random_direction(surface: Surface, *, generator: torch.Generator) -> Float[Tensor, " parameter"]:
    """Return a Gaussian direction, filter-normalised (see `filter_normalised`).

    Source: Li et al. (2018), arXiv:1712.09913, Section 4.

    Args:
        surface: At its current point.
        generator: On the CPU.
    """
    return filter_normalised(surface, torch.randn(surface.size, generator=generator).to(surface.point))
