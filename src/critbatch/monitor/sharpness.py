"""Batch sharpness: the curvature along the gradient of the batch that is trained on."""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def batch_sharpness(model: nn.Module, parameters: Sequence[nn.Parameter], loss: Callable[[], Tensor]) -> float:
    """Return g'Hg/|g|^2 of a batch's own loss, g its gradient and H its Hessian; training is left as it was.

    The loss is differentiated twice, in one more forward and two more backward passes. Buffers (statistics of
    normalising layers) and random states are put back, gradients in `.grad` are not touched.

    Source: Andreyev and Beneventano (2024), arXiv:2412.20553, Definition 1: its mean over batches settles at 2/rate.

    Args:
        model: In the mode of training.
        parameters: To be trained.
        loss: Computes the mean loss of the batch anew.

    Raises:
        RuntimeError: If the loss cannot be differentiated twice.
    """
    buffers = [(one, copy.deepcopy(one.detach())) for one in model.buffers()]
    devices = sorted({one.device.index or 0 for one in parameters if one.device.type == "cuda"})
    with torch.random.fork_rng(devices), torch.enable_grad():
        found = torch.autograd.grad(loss(), parameters, create_graph=True, allow_unused=True, materialize_grads=True)
        square = torch.stack([one.square().sum() for one in found]).sum()
        # d(|g|^2/2) = Hg, so that its product with g is g'Hg
        curved = torch.autograd.grad(square / 2, parameters, allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        for one, before in buffers:
            one.copy_(before)
        along = torch.stack([(one * two.detach()).sum() for one, two in zip(curved, found, strict=True)]).sum()
        return float(along / square.detach())
