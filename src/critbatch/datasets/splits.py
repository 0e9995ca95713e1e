"""Training, validation and test part of a data set, and how a table is cut into them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..data import Examples
from ..randomness import one_thread


@final
@dataclass(frozen=True, eq=False)
class Splits:
    """Three disjoint sets: learning rates are chosen on `validation`; `test` is only reported."""

    train: Examples
    validation: Examples
    test: Examples


def sixty_twenty_twenty(count: int) -> tuple[int, int, int]:
    """Return sizes of a 60/20/20 split of `count` examples; the training part takes what rounding leaves."""
    fifth = round(count / 5)
    return count - 2 * fifth, fifth, fifth


def stratified(
    labels: Int[Tensor, " example"], sizes: Sequence[int], generator: torch.Generator
) -> list[Int[Tensor, " part"]]:
    """Return disjoint random sets of indices, of exactly the given sizes, in which each class has its share.

    The examples of a class of n get the ranks (1/2)/n, (3/2)/n, ... in random order. Sorted by rank, every stretch
    holds each class in proportion, to within one or two examples, so that the parts are stretches.

    Args:
        labels: Class of each example. All equal gives an ordinary random split.
        sizes: Examples in each part; together at most all.
        generator: Source of the random order.

    Returns:
        The indices of each part.

    Raises:
        ValueError: If the parts need more examples than there are.
    """
    if sum(sizes) > len(labels):
        raise ValueError(
            f"`stratified(sizes={tuple(sizes)})`: needs {sum(sizes)} of {len(labels)} examples. Ask for less."
        )
    shuffled = torch.randperm(len(labels), generator=generator)
    rank = torch.empty(len(labels), dtype=torch.float64)
    for label in labels.unique():
        members = shuffled[labels[shuffled] == label]
        rank[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    ordered = shuffled[torch.sort(rank[shuffled], stable=True).indices]
    return list(ordered[: sum(sizes)].split(list(sizes)))


def standardise(
    values: Float[Tensor, "example ..."], reference: Float[Tensor, "reference ..."]
) -> Float[Tensor, "example ..."]:
    """Return `values` minus the mean of `reference`, over its standard deviation (1 where it does not vary).

    Args:
        values: What to standardise.
        reference: The training part: validation and test must not inform the scale.

    Returns:
        Values in standard deviations of the training part.
    """
    with one_thread():
        mean, spread = reference.mean(0), reference.std(0, correction=0)
    return (values - mean) / torch.where(spread > 0, spread, torch.ones_like(spread))
