"""Batches whose size a policy decides while the run trains."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import torch
from typing_extensions import override

from ..batch_policies.ramp import Ramp
from ..batch_policy import BatchPolicy
from ..sampling import LastBatch, Sampling, cut


@final
@dataclass(frozen=True)
class Steered(Sampling):
    """A new order in every epoch, cut into batches whose size `policy` decides; the run's batch size is the first.

    Runs train in the plain loop. What a policy wants to know of the gradient noise is measured apart, on the batch that
    comes next: it changes no number of the training, and its cost is not among the run's examples. What is left over
    of an epoch is a smaller batch, whose step is scaled by its share: no example is lost, however sizes change.
    """

    policy: BatchPolicy = Ramp()  # noqa: RUF009  # frozen

    @property
    @override
    def steering(self) -> BatchPolicy | None:
        return self.policy

    @override
    def epoch(
        self, train_size: int, batch_size: int, *, order: torch.Generator, base: torch.Generator, number: int = 0
    ) -> Iterator[torch.Tensor]:
        yield from cut(torch.randperm(train_size, generator=order), batch_size, LastBatch.WEIGHT)
