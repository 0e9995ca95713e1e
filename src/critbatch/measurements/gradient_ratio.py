"""How large the mean of mini-batch gradients is beside their scatter, layer by layer: drift against diffusion."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from ..derivatives import group_gradients
from ..measurement import Measurement, Snapshot
from ..sampling import LastBatch, cut

UNIT = "loss per unit of parameter"


@final
@dataclass(frozen=True)
class GradientRatio(Measurement):
    """Norms of mean and standard deviation over the mini-batches of one epoch, of the gradient of each layer's weights.

    `gradient_mean_norm[layer=...]` is |m|, `gradient_deviation_norm[layer=...]` is |s|, Frobenius norms of mean and
    standard deviation of each weight (divisor: the number of batches), for the first `layers` weight matrices, from 1:
    parameters of two and more axes, without biases. The papers' ratios come from them, after averaging over runs:
    |m|/|s| of a layer (Saxe et al.), and (sum |m|)^2/sum |s|, sums over the layers up to a layer (the released code of
    Shwartz-Ziv and Tishby, whose figures show it).

    |m| has noise of its own: its square is too large by about |s|^2/(batches - 1) for independent batches; over the whole
    of an epoch m is the training set's. All gradients are taken at the parameters of the look, with the run's batch size,
    or the whole set where that is smaller; Shwartz-Ziv and Tishby's code takes them while the parameters move. The model
    is in train mode; an L2 penalty is not part of it. NaN for a layer that is not there.

    Cost: one forward and backward pass of an epoch, or of `batches` batches.
    Source: Shwartz-Ziv and Tishby (2017), arXiv:1703.00810; Saxe et al. (2018), On the information bottleneck theory of
    deep learning, ICLR.

    Attributes:
        layers: How many weight matrices, from the first on.
        batches: At most so many of the epoch.
        shuffled: Whether the epoch's order is drawn; else batches are cut from the training set as it lies.
        last_batch: Whether the smaller batch at the end of an epoch is left out, or counts like the others.
        per_decade: Looks per factor of ten in steps; the last look of a run besides.
    """

    layers: int = 1
    batches: int = 128
    shuffled: bool = True
    last_batch: LastBatch = LastBatch.DROP
    per_decade: int = 12

    def __post_init__(self) -> None:
        if self.layers < 1 or self.batches < 1:
            raise ValueError(f"`GradientRatio(layers={self.layers}, batches={self.batches})`: give at least 1 of each.")

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
        """Return the names under which |m| and |s| of a layer, counted from 1, are recorded."""
        return f"gradient_mean_norm[layer={layer}]", f"gradient_deviation_norm[layer={layer}]"

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        found = dict.fromkeys(self.quantities, math.nan)
        mean, variance = _moments(snapshot, self._batches(snapshot))
        trained = [one for one in snapshot.model.parameters() if one.requires_grad]
        sizes = [one.numel() for one in trained]
        layers = [
            (float(of_mean.norm()), float(of_variance.sum()) ** 0.5)
            for one, of_mean, of_variance in zip(trained, mean.split(sizes), variance.split(sizes), strict=True)
            if one.ndim > 1
        ]
        for layer, norms in enumerate(layers[: self.layers], 1):
            found |= zip(self.names(layer), norms, strict=True)
        return found

    def _batches(self, snapshot: Snapshot) -> list[Tensor]:
        count = len(snapshot.inputs)
        order = torch.randperm(count, generator=snapshot.generator) if self.shuffled else torch.arange(count)
        batches = cut(order, min(snapshot.batch_size, count), self.last_batch)
        return [one.to(snapshot.inputs.device) for one in itertools.islice(batches, self.batches)]


def _moments(
    snapshot: Snapshot, batches: list[Tensor]
) -> tuple[Float[Tensor, " parameter"], Float[Tensor, " parameter"]]:
    """Return mean and variance over batches of the mean gradient, in double precision."""
    size = sum(one.numel() for one in snapshot.model.parameters() if one.requires_grad)
    mean, square = torch.zeros(2, size, dtype=torch.float64, device=snapshot.inputs.device)
    for chosen in batches:
        inputs, targets = snapshot.inputs[chosen], snapshot.targets[chosen]
        gradient = group_gradients(snapshot.model, snapshot.task.losses, inputs, targets, size=len(chosen))[0].double()
        mean += gradient / len(batches)
        square += gradient.square() / len(batches)
    return mean, (square - mean.square()).clamp(min=0)  # below 0 by rounding alone
