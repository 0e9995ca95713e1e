"""How many directions the hidden units of a network use."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..measurement import Measurement, Snapshot
from ..models.hidden import hidden_layers, reference_examples

UNIT = "directions"


@final
@dataclass(frozen=True)
class EffectiveRank(Measurement):
    """Effective and stable rank of the hidden layers' activations and weights, averaged over hidden layers.

    Activations: rows are reference examples (and places), columns the layer's units, each less its mean. Weights: rows
    are units, columns their inputs, biases left out. The reference examples are at most `examples` of the validation
    set, or of the test set where there is none; the model is in eval mode. What counts as a hidden layer:
    `critbatch.models.hidden.hidden_layers`; NaN for a model that has none, and for numbers that are not finite.

    Cost: one forward pass of the reference examples and one singular value decomposition of each matrix.
    Source: Roy and Vetterli (2007), The effective rank: a measure of effective dimensionality, EUSIPCO, Definition 1.

    Attributes:
        examples: At most so many reference examples.
        per_decade: Looks per factor of ten in steps; the last look of a run besides.
    """

    examples: int = 1000
    per_decade: int = 5

    @property
    @override
    def looks_per_decade(self) -> int:
        return self.per_decade

    @property
    @override
    def at_the_end(self) -> bool:
        return True

    @property
    @override
    def quantities(self) -> Mapping[str, str]:
        return {
            "activation_effective_rank": UNIT, "activation_stable_rank": UNIT, "weight_effective_rank": UNIT,
            "weight_stable_rank": UNIT,
        }  # fmt: skip

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        model = snapshot.model.eval()
        reference = reference_examples(snapshot.task, self.examples, next(model.parameters()))
        rows = []
        for layer in hidden_layers(model, reference.inputs):
            spectra = (singular_values(layer.outputs - layer.outputs.mean(0)), singular_values(layer.weights))
            rows.append([rank(one) for one in spectra for rank in (effective_rank, stable_rank)])
        means = np.mean(rows, axis=0) if rows else np.full(len(self.quantities), np.nan)
        return dict(zip(self.quantities, map(float, means), strict=True))


def singular_values(matrix: Float[Tensor, "row column"]) -> Float[Tensor, " value"]:
    """Return the singular values of a matrix, largest first; one NaN if some number is not finite."""
    return torch.linalg.svdvals(matrix) if bool(matrix.isfinite().all()) else matrix.new_tensor([torch.nan])


def effective_rank(values: Float[Tensor, " value"]) -> float:
    """Return exp(-sum p log p) of the shares p of the singular values in their sum: between 1 and their number.

    A matrix with k equal singular values has k; the null matrix 0.

    Source: Roy and Vetterli (2007), EUSIPCO, Definition 1.

    Args:
        values: Singular values, at least 0.

    Returns:
        Directions; NaN where a value is.
    """
    total = values.sum()
    if float(total) == 0:
        return 0.0
    shares = values / total
    return float(torch.special.entr(shares).sum().exp())


def stable_rank(values: Float[Tensor, " value"]) -> float:
    """Return the sum of squared singular values over the largest one's square: at most the rank; 0 of the null matrix.

    Source: Rudelson and Vershynin (2007), Journal of the ACM 54, 21, where it is called numerical rank.

    Args:
        values: Singular values, at least 0.

    Returns:
        Directions; NaN where a value is.
    """
    largest = values.max()
    return 0.0 if float(largest) == 0 else float((values / largest).square().sum())
