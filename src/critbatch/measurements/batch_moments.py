"""How batch gradients vary and correlate at frozen parameters, against what the batch size alone predicts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from ..derivatives import per_example_gradients
from ..measurement import Measurement, Snapshot
from ..noise import has_batch_norm
from ..statistics.finite_population import (
    BATCHES,
    Batches,
    batch_correlation,
    batch_correlation_of_data,
    batch_variance,
)  # fmt: skip

MOST_NUMBERS = 2**26  # numbers of per-example gradients held at once


@final
@dataclass(frozen=True)
class BatchMoments(Measurement):
    """Variance and correlation of batch-mean gradients, measured by drawing batches, over their exact prediction.

    The gradient g_i of every example is taken once, at the parameters of the look. Then pairs of batches are drawn in
    three ways: "without" (independent subsets), "with" (independent examples), "epoch" (two consecutive batches of one
    shuffled pass). For each kind and batch size B:

    - `batch_variance_ratio`: mean |g_B - G|^2 over its prediction from the finite-population formula and
      S^2 = sum |g_i - G|^2/(N-1). Where the prediction is 0 (the whole set): 1 plus the variance in units of S^2/B.
    - `batch_correlation`: mean (g_B - G).(g_B' - G) over mean |g_B - G|^2, given the training set.
    - `batch_correlation_of_data`: the same when the training set is random too. The distribution of the data is here
      the N examples at hand, each as likely as the others, from which N are drawn anew, independently, for each pair of
      batches: for this distribution the formula is exact.

    Each has its standard error (`_error`), and the correlations their prediction (`_predicted`). NaN where there is
    nothing to correlate: batches that are the whole set, two batches of an epoch with B > N/2, B > N, BatchNorm (which
    has no gradients of single examples). N is at most `examples`, and less for large models (memory): the first
    of a random order are then the whole training set.

    Cost: per-example gradients of N examples, their N x N inner products, and 4 N^2 `draws` multiplications at each
    batch size; about 3 s for N = 2,000, 13,000 parameters and 8 batch sizes. Source: finite-population sampling,
    see `critbatch.statistics.finite_population`.

    Attributes:
        batch_sizes: B.
        examples: At most this many.
        draws: Pairs of batches of each kind and size. The relative error of a variance is about (2/(d draws))^(1/2),
            with d the effective number of directions in which gradients vary.
        per_decade: Looks per factor of ten in steps.
    """

    batch_sizes: tuple[int, ...] = (8, 32)
    examples: int = 2000
    draws: int = 400
    per_decade: int = 1

    @property
    @override
    def looks_per_decade(self) -> int:
        return self.per_decade

    @property
    @override
    def quantities(self) -> Mapping[str, str]:
        return dict.fromkeys((name for size in self.batch_sizes for kind in BATCHES for name in _names(kind, size)), "")

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        found = dict.fromkeys(self.quantities, math.nan)
        parameters = sum(one.numel() for one in snapshot.model.parameters() if one.requires_grad)
        count = min(len(snapshot.inputs), self.examples, MOST_NUMBERS // parameters)
        if has_batch_norm(snapshot.model) or count < 2:
            return found
        chosen = torch.randperm(len(snapshot.inputs), generator=snapshot.generator)[:count].to(snapshot.inputs.device)
        products = _products(snapshot, chosen)
        drawn = _Drawn.from_generator(snapshot.generator, self.draws, count, products.device)
        for size in self.batch_sizes:
            if size <= count:
                for kinds in (("without", "epoch"), ("with",)):
                    found |= _moments(products, drawn, kinds, size)
        return found


def _names(kind: str, size: int) -> list[str]:
    ends = ("variance_ratio", "variance_ratio_error", "correlation", "correlation_error", "correlation_predicted",
            "correlation_of_data", "correlation_of_data_error", "correlation_of_data_predicted")  # fmt: skip
    return [f"batch_{end}[{kind},B={size}]" for end in ends]


def _products(snapshot: Snapshot, chosen: Int[Tensor, " example"]) -> Float[Tensor, "example example"]:
    """Return inner products of the gradients' deviations from their mean."""
    inputs, targets = snapshot.inputs[chosen], snapshot.targets[chosen]
    gradients = per_example_gradients(snapshot.model, snapshot.task.losses, inputs, targets)
    gradients -= gradients.mean(0)
    return gradients @ gradients.T


@final
@dataclass(frozen=True, eq=False)
class _Drawn:
    """What all batch sizes cut their batches from: orders of a set, examples of a set, and training sets."""

    orders: tuple[Int[Tensor, "draw example"], Int[Tensor, "draw example"]]
    examples: tuple[Int[Tensor, "draw example"], Int[Tensor, "draw example"]]
    sets: Int[Tensor, "draw example"]

    @classmethod
    def from_generator(cls, generator: torch.Generator, draws: int, count: int, device: torch.device) -> "_Drawn":
        """Return draws from a set of `count` examples."""

        def orders() -> Tensor:
            return torch.rand(draws, count, generator=generator, dtype=torch.float64).argsort(1).to(device)

        def examples() -> Tensor:
            return torch.randint(count, (draws, count), generator=generator).to(device)

        return cls((orders(), orders()), (examples(), examples()), examples())

    def pairs(self, kinds: tuple[Batches, ...], size: int) -> list[Tensor]:
        """Return the places in a training set of a first batch and of a second one of each kind, each (draw, size)."""
        first = (self.examples if kinds == ("with",) else self.orders)[0]
        second = {"with": self.examples[1], "without": self.orders[1], "epoch": first[:, size:]}
        return [first[:, :size], *(second[kind][:, :size] for kind in kinds)]


def _moments(products: Tensor, drawn: _Drawn, kinds: tuple[Batches, ...], size: int) -> dict[str, float]:
    """Return the quantities of kinds whose first batches are the same."""
    count = len(products)
    unit = float(products.diagonal().sum(dtype=torch.float64)) / (count - 1)
    given = drawn.pairs(kinds, size)
    squares, *covariances = _squares(products, given)
    squares_of_data, *covariances_of_data = _squares(products, [drawn.sets.gather(1, batch) for batch in given])
    predicted = batch_variance(kinds[0], size, count) * unit
    ratios = squares / predicted if predicted > 0 else 1 + squares * size / unit
    found: dict[str, float] = {}
    for kind, together, of_data in zip(kinds, covariances, covariances_of_data, strict=True):
        values = [
            float(ratios.mean()), float(ratios.std() / len(ratios) ** 0.5),
            *_beside(together, squares, batch_correlation(kind, size, count)),
            *_beside(of_data, squares_of_data, batch_correlation_of_data(kind, size, count)),
        ]  # fmt: skip
        found |= zip(_names(kind, size), values, strict=True)
    return found


def _squares(products: Tensor, batches: list[Tensor]) -> list[Float[Tensor, " draw"]]:
    """Return |g_B - G|^2 of the first batches, and (g_B - G).(g_B' - G) with each of the others."""
    first, *others = (_weights(batch, products) for batch in batches)
    reached = first @ products
    return [(reached * one).sum(1, dtype=torch.float64) for one in (first, *others)]


def _weights(batch: Int[Tensor, "draw size"], products: Tensor) -> Float[Tensor, "draw example"]:
    """Return the weight of each example in the batch's mean."""
    ones = products.new_full((1, 1), 1 / max(batch.shape[1], 1)).expand_as(batch)
    return products.new_zeros(len(batch), len(products)).scatter_add_(1, batch, ones)


def _beside(
    over: Float[Tensor, " draw"], under: Float[Tensor, " draw"], predicted: float
) -> tuple[float, float, float]:  # fmt: skip
    """Return the ratio of two means, its standard error (delta method) and `predicted`; NaN where that is NaN."""
    if math.isnan(predicted):
        return (math.nan,) * 3
    ratio = over.mean() / under.mean()
    error = (over - ratio * under).std() / under.mean() / len(under) ** 0.5
    return float(ratio), float(error), predicted
