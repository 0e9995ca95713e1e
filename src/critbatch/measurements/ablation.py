"""How well a network goes on when more and more of its hidden units are silenced."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from typing_extensions import override

from ..measurement import Measurement, Snapshot
from ..models.hidden import hidden_layers, reference_examples, silenced


@final
@dataclass(frozen=True)
class Ablation(Measurement):
    """Area under the curve of the task's metric against the share of hidden units whose output is set to 0.

    The share grows from 0 to 1 in `shares` equal steps along one random order of the units of all hidden layers; the
    area, by trapezoids, is the mean of the metric over shares, and is averaged over `draws` orders. For an accuracy a
    larger area means that the network can do without more of its units. In the unit of the metric.

    The reference examples are at most `examples` of the validation set, or of the test set where there is none; the
    model is in eval mode. What counts as a hidden layer: `critbatch.models.hidden.hidden_layers`; NaN for a model that
    has none. Unbiased for the mean over all orders.

    Cost: 2 + `draws` x `shares` forward passes of the reference examples.
    Source: cumulative ablation to zero of Morcos et al. (2018), arXiv:1803.06959, Section 2.2; the area is ours.

    Attributes:
        examples: At most so many reference examples.
        shares: Steps of the share.
        draws: Orders.
        per_decade: Looks per factor of ten in steps; the last look of a run besides.
    """

    examples: int = 1000
    shares: int = 8
    draws: int = 4
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
        return {"ablation_area": "metric"}

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        model, metric = snapshot.model.eval(), snapshot.task.metric
        reference = reference_examples(snapshot.task, self.examples, next(model.parameters()))
        layers = hidden_layers(model, reference.inputs)
        widths = [layer.outputs.shape[1] for layer in layers]
        total = sum(widths)
        if not total:
            return {"ablation_area": np.nan}

        def without(gone: torch.Tensor) -> float:
            """Return the mean metric without these units."""
            kept = torch.ones(total, dtype=torch.bool)
            kept[gone] = False
            outputs = silenced(model, reference.inputs, layers, kept.split(widths))
            return float(metric.values(outputs, reference.targets).double().mean())

        counts = [round(total * step / self.shares) for step in range(self.shares + 1)]
        ends = [without(torch.arange(count)) for count in (0, total)]  # the same in every order
        areas = []
        for _ in range(self.draws):
            order = torch.randperm(total, generator=snapshot.generator)
            inner = [without(order[:count]) for count in counts[1:-1]]
            curve = np.array([ends[0], *inner, ends[1]])
            areas.append((curve[1:] + curve[:-1]) / 2 @ np.diff(counts) / total)
        return {"ablation_area": float(np.mean(areas))}
