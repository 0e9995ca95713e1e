"""Embeddings: the rows that an example looked up, each with the sum of its gradients."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .linear import positions
from .use import Use, squares


def _rows(use: Use) -> tuple[Int[Tensor, " row"], Int[Tensor, " row"], Float[Tensor, "row feature"]]:
    """Return example and index of each distinct (example, index) pair, and the sum of its output gradients."""
    indices, deltas = use.inputs.reshape(len(use), -1), positions(use.delta)
    words = use.layer.num_embeddings
    pairs = indices + words * torch.arange(len(use), device=indices.device)[:, None]
    keys, place = pairs.flatten().unique(return_inverse=True)
    summed = deltas.new_zeros(len(keys), deltas.shape[2]).index_add_(0, place, deltas.flatten(0, 1))
    example, index = keys // words, keys % words
    padding = use.layer.padding_idx
    if padding is not None:
        summed[index == padding] = 0.0
    return example, index, summed


def gradients(use: Use, name: str, some: slice) -> Tensor:
    """Return the gradients of these examples with respect to the table."""
    part = Use(use.layer, use.inputs[some], use.delta[some])
    example, index, summed = _rows(part)
    table = summed.new_zeros(len(part), *use.layer.weight.shape)
    table[example, index] = summed
    return table


def squared_norms(use: Use, name: str, weights: Tensor | None) -> Float[Tensor, " example"]:
    """Return the squared norm of each example's gradient with respect to the table."""
    example, index, summed = _rows(use)
    each = squares(summed, None) if weights is None else (summed.square() * weights[index].to(summed)).sum(1)
    return each.new_zeros(len(use)).index_add_(0, example, each)


def product_with_linear(use: Use, linear: Use) -> Float[Tensor, " example"]:
    """Return the inner product of each example's gradients of one weight used as an embedding and as a linear layer.

    sum_st delta'_s[index_t] (input_s . delta_t), where delta' and input are the linear layer's: nothing of the size of
    the table is formed.
    """
    indices, deltas = use.inputs.reshape(len(use), -1), positions(use.delta)
    if use.layer.padding_idx is not None:
        deltas = deltas * (indices != use.layer.padding_idx)[:, :, None]
    inputs, theirs = positions(linear.inputs), positions(linear.delta)
    looked_up = theirs.gather(2, indices[:, None, :].expand(-1, theirs.shape[1], -1))
    return (looked_up * (inputs @ deltas.mT)).sum((1, 2))


def total(use: Use, name: str) -> Tensor:
    """Return the sum of the examples' gradients with respect to the table."""
    _, index, summed = _rows(use)
    return summed.new_zeros(use.layer.weight.shape).index_add_(0, index, summed)
