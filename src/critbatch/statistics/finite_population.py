"""Batches cut from a finite training set: the variance of their means, and how two of them correlate. Exact.

Three samplings: "without", every batch a fresh random subset; "with", every example drawn independently; "epoch",
consecutive batches of one shuffled pass. S^2 is the variance of one example with the divisor N - 1.
"""

import math
from typing import Literal

Batches = Literal["without", "with", "epoch"]
BATCHES: tuple[Batches, ...] = ("without", "with", "epoch")


def batch_variance(kind: Batches, batch_size: int, population: int) -> float:
    """Return the variance of a batch mean given the training set, in units of S^2.

    Source: simple random sampling, Cochran (1977), Sampling Techniques, Theorem 2.2; footnote 6 of McCandlish et al.
    (2018), arXiv:1812.06162, has it for gradients.

    Args:
        kind: How batches are drawn.
        batch_size: Examples in a batch.
        population: Examples in the training set.

    Raises:
        ValueError: If such a batch cannot be drawn.
    """
    _check(kind, batch_size, population)
    if kind == "with":
        return (population - 1) / population / batch_size
    return 1 / batch_size - 1 / population


def batch_correlation(kind: Batches, batch_size: int, population: int) -> float:
    """Return the correlation of two batch means given the training set; NaN where they do not vary, or cannot be two.

    Two independent batches do not correlate. Two of one epoch share no example, which makes them lean apart: exactly
    opposite when they make up the whole set.

    Args:
        kind: How batches are drawn; of an epoch, two that are cut from the same pass.
        batch_size: Examples in a batch.
        population: Examples in the training set.

    Raises:
        ValueError: If such a batch cannot be drawn.
    """
    _check(kind, batch_size, population)
    if kind == "epoch":
        return math.nan if 2 * batch_size > population else -batch_size / (population - batch_size)
    return math.nan if kind == "without" and batch_size == population else 0.0


def batch_correlation_of_data(kind: Batches, batch_size: int, population: int) -> float:
    """Return the correlation of two batch means when the training set itself is drawn from a distribution.

    It is what is left of "independent draws from the data": nothing is lost within one epoch, at any batch size;
    across epochs the batches share a training set, and the share of examples in common is B/N.

    Args:
        kind: How batches are drawn; of an epoch, two that are cut from the same pass.
        batch_size: Examples in a batch.
        population: Examples in the training set, drawn independently.

    Raises:
        ValueError: If such a batch cannot be drawn.
    """
    _check(kind, batch_size, population)
    if kind == "epoch":
        return math.nan if 2 * batch_size > population else 0.0
    return batch_size / (population if kind == "without" else population + batch_size - 1)


def _check(kind: Batches, batch_size: int, population: int) -> None:
    if population < 2 or batch_size < 1 or (kind != "with" and batch_size > population):
        raise ValueError(
            f"a batch of {batch_size} drawn {kind!r} from {population} examples: the batch needs at least 1, the set "
            "at least 2, and without replacement no more can be drawn than there are."
        )
