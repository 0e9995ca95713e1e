"""Gradients of single examples and of groups of them."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

PerExample = Callable[[Tensor, Tensor], Tensor]


def per_example_gradients(
    model: nn.Module, losses: PerExample, inputs: Tensor, targets: Tensor, *, chunk: int = 128
) -> Float[Tensor, "example parameter"]:
    """Return the gradient of each example's loss with respect to all trainable parameters, flattened and joined.

    Vectorised over examples; a model that cannot be vectorised is differentiated one example at a time, with the same
    result. Random layers draw anew for each example.

    Args:
        model: Its mode (train or eval) is used as it is. BatchNorm in train mode has no per-example gradients.
        losses: One value per example from outputs and targets.
        inputs: First axis is the example.
        targets: First axis is the example.
        chunk: Examples at a time: memory grows with chunk x parameters beyond the result.

    Raises:
        OutOfMemoryError: If the device's memory does not hold them.
    """
    parameters = {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}

    def loss(trained: dict[str, Tensor], one_input: Tensor, one_target: Tensor) -> Tensor:
        outputs = functional_call(model, trained, (one_input[None],))
        return losses(outputs, one_target[None])[0]

    each = vmap(grad(loss), in_dims=(None, 0, 0), randomness="different", chunk_size=chunk)
    try:
        found = each(parameters, inputs, targets)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # cannot be vectorised: decisions by the data, in-place changes
        return group_gradients(model, losses, inputs, targets, size=1)
    return torch.cat([found[name].flatten(1) for name in parameters], dim=1)


def group_gradients(
    model: nn.Module, losses: PerExample, inputs: Tensor, targets: Tensor, *, size: int
) -> Float[Tensor, "group parameter"]:
    """Return the gradient of the mean loss of each consecutive group of `size` examples (the last may be smaller).

    Args:
        model: Its mode is used as it is; with BatchNorm each group is normalised by its own statistics (ghost batches).
        losses: One value per example from outputs and targets.
        inputs: First axis is the example.
        targets: First axis is the example.
        size: Examples per group.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rows = []
    for some_inputs, some_targets in zip(inputs.split(size), targets.split(size), strict=True):
        mean = losses(model(some_inputs), some_targets).mean()
        found = torch.autograd.grad(mean, trained, allow_unused=True, materialize_grads=True)
        rows.append(torch.cat([one.flatten() for one in found]))
    return torch.stack(rows)
