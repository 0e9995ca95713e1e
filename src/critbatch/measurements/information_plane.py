"""What hidden layers know of the inputs and of the targets, by bins."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from ..measurement import Measurement, Snapshot
from ..models.hidden import MOST_OBSERVATIONS, hidden_layers
from ..mutual_information.binning import Bins, Fixed, binned_information, discretise
from ..randomness import generator

UNIT = "bits"


@final
@dataclass(frozen=True)
class InformationPlane(Measurement):
    """I(X;T) and I(T;Y) of the first `layers` hidden layers, T being the bins of all units (and places) of a layer.

    Recorded as `input_information[...]` and `target_information[...]`, with kind and number of bins and the layer, from 1:
    several binnings of one run are several of these measurements. At most log2 of the number of examples; layers of more
    than a few units reach it, and then nothing is seen. NaN for a layer that is not there or not finite.

    The examples are the training set, as a choice with equal chances, or all sets of the task together, as the papers
    took their 4,096 patterns; of more than `examples` a fixed draw, the same at every look. Y is the target, equal rows
    being one class. The model is in evaluation mode and double precision, without which a saturated tanh has fewer states.
    What counts as a hidden layer: `critbatch.models.hidden.hidden_layers`.

    Cost: one forward pass of the examples and a sort of each layer's rows.
    Source: Shwartz-Ziv and Tishby (2017), arXiv:1703.00810; Saxe et al. (2018), On the information bottleneck theory of
    deep learning, ICLR; see `critbatch.mutual_information.binning`.

    Attributes:
        bins: Fixed, Range or Saturating.
        layers: How many hidden layers, from the first on.
        everything: Whether validation and test examples are taken too.
        examples: At most so many.
        per_decade: Looks per factor of ten in steps; the last look of a run besides.
    """

    bins: Bins = field(default_factory=Fixed)
    layers: int = 1
    everything: bool = False
    examples: int = 4096
    per_decade: int = 12

    def __post_init__(self) -> None:
        if self.layers < 1 or self.examples < 1:
            raise ValueError(
                f"`InformationPlane(layers={self.layers}, examples={self.examples})`: give at least 1 of each."
            )

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
        return {name: UNIT for layer in range(1, self.layers + 1) for name in self.names(layer)}

    def names(self, layer: int) -> tuple[str, str]:
        """Return the names under which I(X;T) and I(T;Y) of a layer, counted from 1, are recorded."""
        count = len(self.bins.edges(np.zeros(1))) - 1
        place = f"[{type(self.bins).__name__.lower()}={count},layer={layer}]"
        return f"input_information{place}", f"target_information{place}"

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        found = dict.fromkeys(self.quantities, math.nan)
        inputs, targets = self._examples(snapshot)
        labels = np.unique(targets.reshape(len(targets), -1).cpu().numpy(), axis=0, return_inverse=True)[1].ravel()
        model = snapshot.model.double().eval()
        for layer, activations in enumerate(_activations(model, inputs)[: self.layers], 1):
            if np.isfinite(activations).all():
                codes = discretise(activations, self.bins.edges(activations))
                found |= zip(self.names(layer), binned_information(codes, labels), strict=True)
        return found

    def _examples(self, snapshot: Snapshot) -> tuple[Tensor, Tensor]:
        inputs, targets = snapshot.inputs, snapshot.targets
        if self.everything:
            task = snapshot.task
            others = [one for one in (task.validation, task.test) if one is not None]
            inputs = torch.cat([inputs, *(one.inputs.to(inputs) for one in others)])
            targets = torch.cat([targets, *(one.targets.to(targets) for one in others)])
        order = torch.randperm(len(inputs), generator=generator(0, "information plane"))[: self.examples].sort().values
        chosen = order.to(inputs.device)
        return inputs[chosen].double() if inputs.is_floating_point() else inputs[chosen], targets[chosen]


def _activations(model: nn.Module, inputs: Tensor) -> list[np.ndarray]:
    """Return what each hidden layer puts out, shape (example, unit and place).

    In pieces of so few examples that no row is left out (of more than 16,384 places in an example the same ones are).
    """
    places = max((one.places for one in hidden_layers(model, inputs[:1])), default=1)
    pieces = inputs.split(max(1, MOST_OBSERVATIONS // places))
    found = [[one.outputs.reshape(len(some), -1).numpy() for one in hidden_layers(model, some)] for some in pieces]
    return [np.concatenate(one) for one in zip(*found, strict=True)]
