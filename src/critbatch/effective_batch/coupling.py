"""Whether a loss couples the examples of a batch, so that micro-batches are no big batch."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from ..models.ghost import GhostBatchNorm
from ..noise import has_batch_norm

TOLERANCE = 1e-3  # of the gradient: far above rounding in float32, far below any coupling
ADVICE = "cb.ghost_batchnorm(model, ghost_size) makes it depend on a group size that micro-batches keep"


@final
@dataclass(frozen=True)
class Coupling:
    """How far the gradient of a batch in two pieces is from that in one.

    Attributes:
        difference: Norm of the difference, as a share of the gradient's.
        is_coupled: Whether that is more than rounding.
        reason: In words.
    """

    difference: float
    is_coupled: bool
    reason: str


def ghost_multiple(model: nn.Module) -> int:
    """Return what the size of a micro-batch must be a multiple of for groups of GhostBatchNorm to stay whole."""
    return math.lcm(1, *(one.ghost_size for one in model.modules() if isinstance(one, GhostBatchNorm)))


def batch_norms(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the layers that normalise over whatever batch they are shown."""
    return tuple(
        name
        for name, one in model.named_modules()
        if has_batch_norm_itself(one) and not isinstance(one, GhostBatchNorm)
    )


def has_batch_norm_itself(layer: nn.Module) -> bool:
    """Return whether a layer, its children left aside, is a BatchNorm."""
    return not list(layer.children()) and has_batch_norm(layer)


def coupling(
    model: nn.Module, parts: Callable[[int], Iterable[Any]], loss: Callable[[nn.Module, Any], Tensor], half: int, whole: int
) -> Coupling:  # fmt: skip
    """Return how the gradient changes when a batch is cut into pieces of `half` examples.

    Dropout is off; modes, buffers, gradients and the random state are left as they were.

    Args:
        model: In train mode.
        parts: Returns the pieces of the batch for a size.
        loss: Sum of the losses of a piece.
        half: Size of a piece.
        whole: Of the batch.
    """
    modes = [(one, one.training) for one in model.modules()]
    kept = [one.clone() for one in model.buffers()]
    parameters = [one for one in model.parameters() if one.requires_grad]
    found = []
    with torch.random.fork_rng():
        for one, _ in modes:
            if isinstance(one, nn.modules.dropout._DropoutNd):
                one.eval()
        try:
            for size in (whole, half):
                total = torch.zeros(())
                for part in parts(size):
                    grads = torch.autograd.grad(loss(model, part), parameters, allow_unused=True)
                    flat = torch.cat([one.flatten() for one in grads if one is not None])
                    total = flat if not total.dim() else total + flat
                found.append(total)
        finally:
            for one, mode in modes:
                one.training = mode
            for one, before in zip(model.buffers(), kept, strict=True):
                one.copy_(before)
    difference = float((found[1] - found[0]).norm() / found[0].norm().clamp_min(torch.finfo(found[0].dtype).tiny))
    is_coupled = not difference <= TOLERANCE
    if not is_coupled:
        return Coupling(difference, is_coupled, "examples do not know of each other: accumulation is a big batch")
    names = batch_norms(model)
    why = f"BatchNorm ({', '.join(names)}); {ADVICE}" if names else "the loss, as contrastive losses do"
    return Coupling(
        difference, is_coupled, f"examples of a batch are coupled: accumulation is not a big batch; by {why}"
    )
