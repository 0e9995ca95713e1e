"""How the inputs of hidden units are spread, so that successive looks show how they drift."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from typing_extensions import override

from ..measurement import Measurement, Snapshot
from ..models.hidden import reference_examples

PERCENTILES = (15, 50, 85)


@final
@dataclass(frozen=True)
class ActivationDrift(Measurement):
    """Percentiles 15, 50 and 85, over reference examples, of what some units of the last hidden layer are given.

    What a unit is given is the number that its nonlinearity is applied to: with a norm layer in front of it, the
    normalised one. In general it is the output of the last layer with a state of its own (parameters, running
    statistics) before the output layer, in the order in which the forward pass comes to them. Recorded as
    `unit_input_percentile_50[unit=0]` for `units` units, evenly spaced over the layer; in units of that output. NaN for
    a model without a hidden layer.

    The reference examples are the same at every look of every run and are not trained on. BatchNorm uses their own
    statistics, as it uses those of the batch in training, and dropout is off. One look says nothing of a drift: compare
    successive ones, per update or per unit by which the loss fell between them. Movements to and fro between two looks
    are not seen.

    Source: Ioffe and Szegedy (2015), arXiv:1502.03167, Figure 1 (b, c), for one unit.

    Attributes:
        examples: Reference examples, at most.
        units: How many units; in a smaller layer some are read twice.
        per_decade: Looks per factor of ten in steps.
    """

    examples: int = 500
    units: int = 5
    per_decade: int = 8

    def __post_init__(self) -> None:
        if min(self.examples, self.units, self.per_decade) < 1:
            raise ValueError(f"`{self}`: examples, units and looks per decade must be at least 1.")

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
        cells = [(percentile, unit) for percentile in PERCENTILES for unit in range(self.units)]
        return {self.quantity(*cell): "input of a unit" for cell in cells}

    def quantity(self, percentile: int, unit: int) -> str:
        """Return the name of one percentile of one unit."""
        return f"unit_input_percentile_{percentile}[unit={unit}]"

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        like = next(snapshot.model.parameters())
        reference = reference_examples(snapshot.task, self.examples, like)
        found = _inputs_of_last_hidden_units(snapshot.model, reference.inputs)
        if found is None:
            return dict.fromkeys(self.quantities, math.nan)
        chosen = torch.linspace(0, found.shape[1] - 1, self.units, dtype=torch.float64).round().long()
        levels = torch.tensor(PERCENTILES, dtype=torch.float64) / 100
        table = torch.quantile(found[:, chosen].to("cpu", torch.float64), levels, dim=0)
        return {
            self.quantity(percentile, unit): float(table[row, unit])
            for row, percentile in enumerate(PERCENTILES)
            for unit in range(self.units)
        }


@torch.no_grad()
def _inputs_of_last_hidden_units(model: nn.Module, inputs: Tensor) -> Tensor | None:
    """Return them with one row for each example, or None if there is no hidden layer."""
    seen: list[Tensor] = []

    def watch(module: nn.Module, given: object, output: object) -> None:
        if isinstance(output, Tensor):
            seen.append(output)

    handles = [
        one.register_forward_hook(watch)
        for one in model.modules()
        if not list(one.children()) and (list(one.parameters()) or list(one.buffers()))
    ]
    model.eval()
    for one in model.modules():
        if isinstance(one, _BatchNorm):
            one.train()
    try:
        model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return seen[-2].flatten(1) if len(seen) > 1 else None
