"""The two moments behind the simple gradient noise scale, at frozen parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from typing_extensions import override

from ..derivatives import group_gradients, per_example_gradients
from ..measurement import Measurement, Snapshot
from ..noise import has_batch_norm, noise_moments

UNIT = "(loss per unit of parameter) squared"


@final
@dataclass(frozen=True)
class NoiseMoments(Measurement):
    """tr(Sigma) and |G|^2 of the training loss, from `examples` training examples drawn without replacement.

    Exact for the training set when `examples` reaches its size. Measured in train mode: dropout noise belongs to the
    gradient noise that SGD sees. Models with BatchNorm have no per-example gradients; groups of `group` examples are
    used then, and what is measured is the ghost-batch objective at this group size. An L2 penalty is not part of it.

    Cost: about one forward and backward pass over `examples` (per-example gradients, in chunks).
    Source: McCandlish et al. (2018), arXiv:1812.06162, Appendix A.1; see `critbatch.noise.noise_moments`.
    """

    examples: int = 1024
    group: int = 32
    per_decade: int = 6

    @property
    @override
    def looks_per_decade(self) -> int:
        return self.per_decade

    @property
    @override
    def quantities(self) -> Mapping[str, str]:
        return {"gradient_covariance_trace": UNIT, "gradient_squared_norm": UNIT}

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        population = len(snapshot.inputs)
        chosen = torch.randperm(population, generator=snapshot.generator)[: self.examples].to(snapshot.inputs.device)
        inputs, targets = snapshot.inputs[chosen], snapshot.targets[chosen]
        losses = snapshot.task.losses
        if has_batch_norm(snapshot.model):
            gradients = group_gradients(snapshot.model, losses, inputs, targets, size=self.group)
        else:
            gradients = per_example_gradients(snapshot.model, losses, inputs, targets)
        size = -(-len(chosen) // len(gradients))
        sizes = gradients.new_tensor([len(part) for part in chosen.split(size)])
        trace, squared_norm = noise_moments(gradients, sizes, population=population)
        return {"gradient_covariance_trace": float(trace), "gradient_squared_norm": float(squared_norm)}
