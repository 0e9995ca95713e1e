"""Linear layers: norms from the products of inputs and of output gradients, without the gradients themselves."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .use import Use, chunks, squares, wide


def positions(values: Tensor) -> Float[Tensor, "example position feature"]:
    """Return values with one axis for all positions between the example's and the feature's."""
    return wide(values).reshape(len(values), -1, values.shape[-1])


def outer_norms(
    inputs: Float[Tensor, "example position input"], deltas: Float[Tensor, "example position output"],
    weights: Float[Tensor, "output input"] | None = None,
) -> Float[Tensor, " example"]:  # fmt: skip
    """Return |sum over positions of delta_t input_t'|^2 of each example, by whichever way takes less work.

    Either sum_st (input_s . input_t)(delta_s . delta_t), or the gradients themselves a few examples at a time.

    Source: Goodfellow (2015), arXiv:1510.01799, for one position; Li, Tramer, Liang and Hashimoto (2021),
    arXiv:2110.05679, Section 4, for sequences.

    Args:
        inputs: What went into the layer.
        deltas: Gradient of what came out.
        weights: Count each coordinate's square this many times; None for once.
    """
    count, length, width = inputs.shape
    out = deltas.shape[2]
    if length == 1:
        ours, theirs = inputs[:, 0].square(), deltas[:, 0].square()
        if weights is None:
            return ours.sum(1) * theirs.sum(1)
        return ((theirs @ weights.to(theirs)) * ours).sum(1)
    if weights is None and length * (width + out) < width * out:
        numbers = 2 * length**2
        found = [
            (inputs[some] @ inputs[some].mT).mul_(deltas[some] @ deltas[some].mT).sum((1, 2))
            for some in chunks(count, numbers)
        ]
    else:
        found = [squares(deltas[some].mT @ inputs[some], weights) for some in chunks(count, width * out)]
    return torch.cat(found)


def is_transposed(layer: nn.Module) -> bool:
    """Return whether the layer keeps its weight as (input, output), as `transformers`' Conv1D does."""
    return type(layer).__name__ == "Conv1D" and hasattr(layer, "nf")


def gradients(use: Use, name: str, some: slice) -> Tensor:
    """Return the gradients of these examples with respect to the weight or the bias."""
    deltas = positions(use.delta[some])
    if name == "bias":
        return deltas.sum(1)
    found = deltas.mT @ positions(use.inputs[some])
    return found.mT if is_transposed(use.layer) else found


def squared_norms(use: Use, name: str, weights: Tensor | None) -> Float[Tensor, " example"]:
    """Return the squared norm of each example's gradient with respect to the weight or the bias."""
    if weights is None and use.delta.ndim == 2:  # one position: |delta input'| = |delta| |input|
        norms = use.delta_norms
        return (norms if name == "bias" else norms * torch.linalg.vector_norm(wide(use.inputs), dim=1)).square()
    if name == "bias":
        return squares(positions(use.delta).sum(1), weights)
    turned = weights.mT if weights is not None and is_transposed(use.layer) else weights
    return outer_norms(positions(use.inputs), positions(use.delta), turned)


def total(use: Use, name: str) -> Tensor:
    """Return the sum of the examples' gradients with respect to the weight or the bias."""
    deltas = positions(use.delta).flatten(0, 1)
    if name == "bias":
        return deltas.sum(0)
    found = deltas.mT @ positions(use.inputs).flatten(0, 1)
    return found.mT if is_transposed(use.layer) else found
