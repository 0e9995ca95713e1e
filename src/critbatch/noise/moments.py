"""The two moments of the per-example gradient, from micro-batches, unbiased."""

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor


def noise_moments(
    gradients: Float[Tensor, "batch parameter"], sizes: Float[Tensor, " size"], *, population: int | None = None
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return unbiased estimates of tr(Sigma) and |G|^2 from mean gradients of disjoint micro-batches.

    G and Sigma are the mean and covariance of the per-example gradient. Their ratio is the simple noise scale. It is
    not formed here: a ratio of unbiased estimates is biased, so average the two first (`noise_scale`).

    All gradients must be taken at the same parameters. A batch made of consecutive optimiser steps is not one: their
    products have the mean |G|^2 (1 - rate/best rate), so that |G|^2 comes out too small, and next to nothing at the
    best learning rate, while the noise scale explodes (see `lag_one_alignment`).

    Source: McCandlish et al. (2018), arXiv:1812.06162, Appendix A.1, in its analysis-of-variance form, which is the
    same for equal sizes and unbiased for unequal ones. Finite population: Cov(g_B) = S_N (1/B - 1/N).

    Args:
        gradients: Mean gradient of each micro-batch, all at the same parameters.
        sizes: Examples in each micro-batch.
        population: Give the training set's size N if the examples were drawn from it without replacement and |G|^2 of
            the training set is wanted; None for the distribution behind it.

    Returns:
        tr(Sigma), then |G|^2. Both in (loss per unit of parameter) squared. The second may be negative.

    Raises:
        ValueError: If there are fewer than two micro-batches, or sizes do not match.
    """
    count = len(gradients)
    if count < 2 or len(sizes) != count:
        raise ValueError(
            f"`noise_moments` needs at least 2 micro-batches and a size for each to estimate a variance, got {count} "
            f"gradients and {len(sizes)} sizes."
        )
    total = sizes.sum()
    mean = (sizes[:, None] * gradients).sum(0) / total
    trace = (sizes * (gradients - mean).square().sum(1)).sum() / (count - 1)
    seen = 1 / total - (1 / population if population else 0.0)
    return trace, mean.square().sum() - trace * seen


@final
class Moments:
    """The sums behind `noise_moments`, added up block by block: no more than a block of gradients is ever held."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self._weighted_squares = 0.0
        self._weighted_sum: Tensor | None = None

    def add(self, gradients: Float[Tensor, "batch parameter"], sizes: Float[Tensor, " size"]) -> None:
        """Add mean gradients of micro-batches of these sizes."""
        weighted = (sizes.to(gradients) @ gradients).double()  # a copy of the block in float64 would take longest here
        squares = torch.linalg.vector_norm(gradients, dim=1, dtype=torch.float64).square()
        self._weighted_sum = weighted if self._weighted_sum is None else self._weighted_sum + weighted
        self._weighted_squares += float((sizes.double() * squares).sum())
        self.count += len(gradients)
        self.total += float(sizes.sum())

    def add_sums(self, total: Float[Tensor, " parameter"], squares: float, *, count: int) -> None:
        """Add single examples by the sum of their gradients and of their squared norms."""
        self._weighted_sum = total.double() if self._weighted_sum is None else self._weighted_sum + total
        self._weighted_squares += squares
        self.count += count
        self.total += count

    def result(self, *, population: int | None = None) -> tuple[float, float]:
        """Return tr(Sigma) and |G|^2 as `noise_moments` does; NaN for both with fewer than two micro-batches."""
        if self.count < 2 or self._weighted_sum is None:
            return math.nan, math.nan
        squared_mean = float(self._weighted_sum.square().sum()) / self.total**2
        trace = (self._weighted_squares - self.total * squared_mean) / (self.count - 1)
        return trace, squared_mean - trace * (1 / self.total - (1 / population if population else 0.0))


def has_batch_norm(model: torch.nn.Module) -> bool:
    """Return whether a layer of the model couples the examples of a batch (then no per-example gradient exists)."""
    return any(isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) for layer in model.modules())
