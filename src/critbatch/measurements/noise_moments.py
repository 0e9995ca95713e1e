"""The two moments behind the simple gradient noise scale, at frozen parameters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from typing_extensions import override

from ..derivatives import group_gradients, per_example_gradients
from ..measurement import Measurement, Snapshot
from ..noise import Moments, has_batch_norm

BLOCK = 128  # examples differentiated at once, fewer for large models:
MOST_NUMBERS = 2**24  # numbers of per-example gradients held at once
UNIT = "(loss per unit of parameter) squared"


@final
@dataclass(frozen=True)
class NoiseMoments(Measurement):
    """tr(Sigma) and |G|^2 of the training loss, from `examples` training examples drawn without replacement.

    Exact for the training set when `examples` reaches its size. Measured in train mode: dropout noise belongs to the
    gradient noise that SGD sees. Models with BatchNorm have no per-example gradients; groups of `group` examples are
    used then, and what is measured is the ghost-batch objective at this group size; NaN if there are not two groups.
    An L2 penalty is not part of it.

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
        count = len(snapshot.inputs)
        chosen = torch.randperm(count, generator=snapshot.generator)[: self.examples].to(snapshot.inputs.device)
        parameters = sum(one.numel() for one in snapshot.model.parameters() if one.requires_grad)
        coupled = has_batch_norm(snapshot.model)
        size = self.group if coupled else max(1, min(BLOCK, MOST_NUMBERS // max(parameters, 1)))
        moments = Moments()
        if not coupled and snapshot.gradient_sums is not None:
            sums = snapshot.gradient_sums(snapshot.inputs[chosen], snapshot.targets[chosen])
            if sums is not None:
                moments.add_sums(*sums, count=len(chosen))
                chosen = chosen[:0]
        for some in chosen.split(size) if len(chosen) else ():
            inputs, targets = snapshot.inputs[some], snapshot.targets[some]
            if not coupled:
                gradients = per_example_gradients(snapshot.model, snapshot.task.losses, inputs, targets)
                moments.add(gradients, gradients.new_ones(len(some)))
            elif len(some) == size:  # a smaller last group would be another objective
                gradients = group_gradients(snapshot.model, snapshot.task.losses, inputs, targets, size=size)
                moments.add(gradients, gradients.new_tensor([size]))
        trace, squared_norm = moments.result(population=snapshot.population)
        return {"gradient_covariance_trace": trace, "gradient_squared_norm": squared_norm}
