"""Whether either half of a hidden layer's units says what the other half says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import override

from ..measurement import Measurement, Snapshot
from ..models.hidden import hidden_layers, reference_examples


@final
@dataclass(frozen=True)
class HalvesAlignment(Measurement):
    """Linear centred kernel alignment between random halves of a layer's units, averaged over splits, then layers.

    1: the halves put out the same up to rotation and scale; 0: nothing that one puts out is correlated with the other.
    A layer with an odd number of units leaves one out of each split, at random.

    The reference examples are at most `examples` of the validation set, or of the test set where there is none; the
    model is in eval mode. What counts as a hidden layer: `critbatch.models.hidden.hidden_layers`. Splits with a half
    that puts out the same for all examples are left out; NaN where none is left, and for numbers that are not finite.
    With units few beside the examples its bias (about units/(2 examples) for unrelated units) is small.

    Cost: one forward pass of the reference examples and a covariance matrix for each layer.
    Source: Kornblith et al. (2019), arXiv:1905.00414, Section 3, linear kernel; the halves are ours.

    Attributes:
        examples: At most so many reference examples.
        splits: Of each layer.
        per_decade: Looks per factor of ten in steps; the last look of a run besides.
    """

    examples: int = 1000
    splits: int = 8
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
        return {"halves_alignment": ""}

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        model = snapshot.model.eval()
        reference = reference_examples(snapshot.task, self.examples, next(model.parameters()))
        found = []
        for layer in hidden_layers(model, reference.inputs):
            centred = layer.outputs - layer.outputs.mean(0)
            units = centred.shape[1]
            orders = [torch.randperm(units, generator=snapshot.generator) for _ in range(self.splits)]
            covariance, half = centred.T @ centred, units // 2
            values = [alignment(covariance, order[:half], order[half : 2 * half]) for order in orders if half]
            found.append([one for one in values if np.isfinite(one)])
        means = [np.mean(values) for values in found if values]
        return {"halves_alignment": float(np.mean(means)) if means else np.nan}


def alignment(
    covariance: Float[Tensor, "unit unit"], first: Int[Tensor, " half"], second: Int[Tensor, " half"]
) -> float:
    """Return the linear centred kernel alignment |X'Y|^2 / (|X'X| |Y'Y|) of two sets of units, Frobenius norms.

    Source: Kornblith et al. (2019), arXiv:1905.00414, Section 3.

    Args:
        covariance: Of all units, up to a factor.
        first: Units of the first set.
        second: Units of the second set.

    Returns:
        Between 0 and 1, without unit; NaN if a set does not vary.
    """
    across = covariance[first][:, second].square().sum()
    inside = covariance[first][:, first].norm() * covariance[second][:, second].norm()
    return float(across / inside) if float(inside) > 0 else np.nan
