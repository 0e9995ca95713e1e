"""What one more step would do: the change of the training loss after a step of each size, at frozen parameters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from typing_extensions import override

from ..derivatives import group_gradients
from ..measurement import Measurement, Snapshot

SAME = 1e-3  # of |G|: within it a gradient in train mode is that of the loss; rounding is below, dropout far above


@final
@dataclass(frozen=True)
class OneStep(Measurement):
    """Mean change of the training loss after one plain SGD step with a random batch, for batch sizes x learning rates.

    At a look the parameters stay where they are; for each batch size `batches` batches are drawn, each a uniform subset
    of the training set, and the loss of the whole set is read after a step at every learning rate. Below 0: the step
    helps. Where the training set is larger than `examples`, a random part of it of that size stands for it throughout.
    Batches are drawn in train mode, losses are read in eval mode as everywhere; an L2 penalty is not part of either.

    To the first order in the learning rate the change is -rate g_B.G, the mean of which is known: -rate |G|^2. That part
    of each draw is replaced by its mean, which leaves the mean as it is and takes away most of the noise. It is done
    only where batch gradients are seen to have the gradient of the loss as their mean: not with BatchNorm or dropout.

    Recorded, in units of the loss: `loss_change[B=16,lr=0.25]`, and its standard error over batches as
    `loss_change_error[B=16,lr=0.25]`; 0 for the whole set, of which there is one batch. NaN for batch sizes above the
    set's size; not finite where a step leaves the numbers' range.

    Cost: batch sizes x batches x (learning rates + 1) passes over at most `examples` examples.
    Source: McCandlish et al. (2018), arXiv:1812.06162, Section 2.2, where E[change] = -rate |G|^2 + rate^2/2 (G'HG +
    tr(H Sigma)/B), as it is for a quadratic loss; here nothing is assumed. The control variate is ours.
    """

    batch_sizes: tuple[int, ...] = (1, 4, 16, 64)
    learning_rates: tuple[float, ...] = (0.015625, 0.0625, 0.25, 1.0)
    batches: int = 32
    examples: int = 2048
    per_decade: int = 1

    def __post_init__(self) -> None:
        positive = min((*self.batch_sizes, *self.learning_rates), default=0) > 0
        if not (self.batch_sizes and self.learning_rates and positive) or self.batches < 2:
            raise ValueError(
                f"`OneStep(batch_sizes={self.batch_sizes}, learning_rates={self.learning_rates}, "
                f"batches={self.batches})`: give batch sizes and learning rates above 0, and at least 2 batches."
            )

    @property
    @override
    def looks_per_decade(self) -> int:
        return self.per_decade

    @property
    @override
    def quantities(self) -> Mapping[str, str]:
        cells = [(size, rate) for size in self.batch_sizes for rate in self.learning_rates]
        return {name: "loss" for cell in cells for name in (self.change(*cell), self.error(*cell))}

    def change(self, batch_size: int, learning_rate: float) -> str:
        """Return the name of the mean change at a batch size and learning rate."""
        return f"loss_change[B={batch_size},lr={learning_rate:g}]"

    def error(self, batch_size: int, learning_rate: float) -> str:
        """Return the name of that mean's standard error."""
        return f"loss_change_error[B={batch_size},lr={learning_rate:g}]"

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        count = len(snapshot.inputs)
        kept = torch.arange(count)
        if count > self.examples:
            kept = torch.randperm(count, generator=snapshot.generator)[: self.examples]
        point = _Point(snapshot, kept.to(snapshot.inputs.device))
        found: dict[str, float] = {}
        for size in self.batch_sizes:
            draws = point.draws(size, self.learning_rates, self.batches)
            for place, rate in enumerate(self.learning_rates):
                found[self.change(size, rate)], found[self.error(size, rate)] = _mean(draws[:, place])
        return found


def _mean(values: Tensor) -> tuple[float, float]:
    """Return mean and standard error; no error for a single value, which is exact, and NaN for none."""
    if len(values) < 2:
        return (float(values[0]), 0.0) if len(values) else (math.nan, math.nan)
    return float(values.mean()), float(values.std()) / len(values) ** 0.5


class _Point:
    """Frozen parameters, from which steps are tried and taken back."""

    def __init__(self, snapshot: Snapshot, kept: Tensor) -> None:
        self.model, self.losses, self.generator = snapshot.model, snapshot.task.losses, snapshot.generator
        self.inputs, self.targets = snapshot.inputs[kept], snapshot.targets[kept]
        self.trained = [one for one in self.model.parameters() if one.requires_grad]
        self.start = parameters_to_vector(self.trained).detach().clone()
        self.buffers = [(one, one.clone()) for one in self.model.buffers()]
        self.loss = self._loss()
        self.gradient = self._expected_gradient()

    def draws(self, size: int, rates: Sequence[float], batches: int) -> Tensor:
        """Return the loss change of each batch and rate, shape (batch, rate), float64; no batch if `size` is too large."""
        count = len(self.inputs)
        times = 0 if size > count else 1 if size == count and self.gradient is not None else batches
        rows = [self._row(torch.randperm(count, generator=self.generator)[:size], rates) for _ in range(times)]
        return torch.tensor(rows, dtype=torch.float64).reshape(times, len(rates))

    def _row(self, chosen: Tensor, rates: Sequence[float]) -> list[float]:
        chosen = chosen.to(self.inputs.device)
        gradient = self._gradient(self.inputs[chosen], self.targets[chosen])
        surplus = 0.0  # of g.G over its mean |G|^2
        if self.gradient is not None:
            surplus = float((gradient.double() - self.gradient) @ self.gradient)
        row = []
        for rate in rates:
            vector_to_parameters(self.start - rate * gradient, self.trained)
            row.append(self._loss() - self.loss + rate * surplus)
        vector_to_parameters(self.start, self.trained)
        return row

    def _gradient(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the gradient of a batch in train mode; what the forward pass keeps (BatchNorm's averages) is put back."""
        self.model.train()
        found = group_gradients(self.model, self.losses, inputs, targets, size=len(inputs))[0]
        with torch.no_grad():
            for buffer, before in self.buffers:
                buffer.copy_(before)
        return found

    @torch.no_grad()
    def _loss(self) -> float:
        self.model.eval()
        return float(self.losses(self.model(self.inputs), self.targets).double().mean())

    def _expected_gradient(self) -> Tensor | None:
        """Return the gradient of the loss if batch gradients have it as their mean, else None."""
        half = len(self.inputs) // 2
        if not half:
            return None
        parts = (slice(None, half), slice(half, None))
        mean = sum(
            self._gradient(self.inputs[part], self.targets[part]).double() * (len(self.inputs[part]) / len(self.inputs))
            for part in parts
        )
        self.model.eval()
        whole = group_gradients(self.model, self.losses, self.inputs, self.targets, size=len(self.inputs))[0].double()
        return whole if float((mean - whole).norm()) <= SAME * float(whole.norm()) else None
