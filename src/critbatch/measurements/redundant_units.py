"""Whether hidden units do the same as others, nothing at all, or serve single classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from typing_extensions import override

from ..measurement import Measurement, Snapshot
from ..models.hidden import HiddenLayer, hidden_layers, reference_examples

ALIKE = 0.9  # absolute correlation above which two units count as duplicates
SAME = 1e-6  # of a unit's largest output: a range below is none


@final
@dataclass(frozen=True)
class RedundantUnits(Measurement):
    """Likeness of the hidden units of a layer to each other, averaged over hidden layers.

    - `weight_cosine`: mean |cosine| between the incoming weights of two units, over all pairs of units with weights.
    - `activation_correlation`: mean |correlation| between the outputs of two units, over all pairs that are not dead.
    - `duplicate_share`: share of those pairs with |correlation| above 0.9.
    - `dead_share`: share of units that put out the same for all reference examples.
    - `class_selectivity`: mean over units that are not dead of (a - b)/(a + b), where a is the largest of the classes'
      mean absolute outputs and b the mean of the other classes'. 0: the same for all classes; 1: one class alone.

    The reference examples are at most `examples` of the validation set, or of the test set where there is none; the
    model is in eval mode. What counts as a hidden layer: `critbatch.models.hidden.hidden_layers`. A layer in which a
    quantity has no meaning (fewer than two live units; targets that are no classes) is left out of its mean, which is
    NaN where no layer is left, and where numbers are not finite.

    Cost: one forward pass of the reference examples and a correlation matrix for each layer.
    Source: class selectivity of Morcos et al. (2018), arXiv:1803.06959, Section 2.3, of absolute outputs so that it
    serves activations of either sign; the rest is ours.

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
        names = ("weight_cosine", "activation_correlation", "duplicate_share", "dead_share", "class_selectivity")
        return dict.fromkeys(names, "")

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        model = snapshot.model.eval()
        reference = reference_examples(snapshot.task, self.examples, next(model.parameters()))
        rows = [_values(layer, reference.targets) for layer in hidden_layers(model, reference.inputs)]
        table = np.array(rows).reshape(len(rows), len(self.quantities))
        means = [column[np.isfinite(column)].mean() if np.isfinite(column).any() else np.nan for column in table.T]
        return dict(zip(self.quantities, map(float, means), strict=True))


def _values(layer: HiddenLayer, targets: Tensor) -> list[float]:
    """Return the quantities of one layer, in their order."""
    if not bool(layer.outputs.isfinite().all() and layer.weights.isfinite().all()):
        return [np.nan] * 5
    live = live_units(layer.outputs)
    correlations = pairs(layer.outputs[:, live] - layer.outputs[:, live].mean(0))
    duplicates = (correlations > ALIKE).double()
    labels = layer.labels(targets)
    selectivity = np.nan if labels is None else class_selectivity(layer.outputs[:, live], labels)
    cosines = pairs(layer.weights[layer.weights.square().sum(1) > 0].T)
    return [_mean(cosines), _mean(correlations), _mean(duplicates), float((~live).double().mean()), selectivity]


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else np.nan


def live_units(outputs: Float[Tensor, "observation unit"]) -> Bool[Tensor, " unit"]:
    """Return which units do not put out the same for every row, up to a millionth of their largest output."""
    return outputs.amax(0) - outputs.amin(0) > SAME * outputs.abs().amax(0)


def pairs(columns: Float[Tensor, "row unit"]) -> Float[Tensor, " pair"]:
    """Return |cosine| of every pair of columns, none of which may be 0; of centred columns it is |correlation|."""
    normed = columns / columns.norm(dim=0)
    first, second = torch.triu_indices(columns.shape[1], columns.shape[1], offset=1)
    return (normed.T @ normed)[first, second].abs()


def class_selectivity(outputs: Float[Tensor, "observation unit"], labels: Int[Tensor, " observation"]) -> float:
    """Return the mean selectivity of units; NaN if there are no units or fewer than two classes.

    Source: Morcos et al. (2018), arXiv:1803.06959, Section 2.3.

    Args:
        outputs: Of units none of which is 0 throughout.
        labels: Class of each row.

    Returns:
        Between 0 and 1, without unit.
    """
    classes, index = labels.unique(return_inverse=True)
    if len(classes) < 2 or not outputs.shape[1]:
        return np.nan
    counts = torch.bincount(index).to(outputs.dtype)
    sums = outputs.new_zeros(len(classes), outputs.shape[1]).index_add_(0, index, outputs.abs())
    means = sums / counts[:, None]
    most = means.amax(0)
    others = (means.sum(0) - most) / (len(classes) - 1)
    return float(((most - others) / (most + others)).mean())
