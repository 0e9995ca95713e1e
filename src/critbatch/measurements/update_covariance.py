"""How much mini-batch gradients of several batch sizes scatter at frozen parameters, seen by drawing batches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from ..derivatives import group_gradients
from ..measurement import Measurement, Snapshot
from ..noise import Moments

UNIT = "(loss per unit of parameter) squared"


@final
@dataclass(frozen=True)
class UpdateCovariance(Measurement):
    """tr Cov(g_B), the total variance of the mini-batch gradient g_B, at each of `batch_sizes`.

    For each batch size `batches` batches are drawn, each a uniform subset of the training set and independent of the
    others, and their gradients compared: nothing is assumed of how the variance depends on the batch size, so that a
    law about it can fail. For additive losses it is tr(S_N) (1/B - 1/N), where S_N is the covariance of the single
    gradients with divisor N - 1; with BatchNorm, whose batches see themselves, there is no such law. Models are in train
    mode: dropout noise belongs to it. An L2 penalty is the same for all batches and changes nothing. The variance of
    plain SGD's update is this times the squared learning rate.

    Unbiased. Its relative standard error is about sqrt(2 / (d (batches - 1))), with d the number of directions among
    which the variance is spread. NaN for batch sizes above the training set's size.
    Source: the quantity of Hoffer et al. (2017), arXiv:1705.08741, Section 4 for infinite populations.
    """

    batch_sizes: tuple[int, ...] = (1, 4, 16, 64)
    batches: int = 64
    per_decade: int = 5

    def __post_init__(self) -> None:
        if not self.batch_sizes or min(self.batch_sizes) < 1 or self.batches < 2:
            raise ValueError(
                f"`UpdateCovariance(batch_sizes={self.batch_sizes}, batches={self.batches})`: give batch sizes of at "
                "least 1, and at least 2 batches to see them differ."
            )

    @property
    @override
    def looks_per_decade(self) -> int:
        return self.per_decade

    @property
    @override
    def quantities(self) -> Mapping[str, str]:
        return {self.quantity(size): UNIT for size in self.batch_sizes}

    def quantity(self, batch_size: int) -> str:
        """Return the name under which the variance at `batch_size` is recorded."""
        return f"gradient_variance[B={batch_size}]"

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        return {self.quantity(size): _variance(snapshot, size, self.batches) for size in self.batch_sizes}


def _variance(snapshot: Snapshot, size: int, batches: int) -> float:
    moments = Moments()
    count = len(snapshot.inputs)
    for _ in range(batches if size <= count else 0):
        chosen = torch.randperm(count, generator=snapshot.generator)[:size].to(snapshot.inputs.device)
        gradient = _gradient(snapshot, chosen)
        moments.add(gradient, gradient.new_ones(1))
    return moments.result()[0]


def _gradient(snapshot: Snapshot, chosen: Tensor) -> Tensor:
    inputs, targets = snapshot.inputs[chosen], snapshot.targets[chosen]
    return group_gradients(snapshot.model, snapshot.task.losses, inputs, targets, size=len(chosen))
