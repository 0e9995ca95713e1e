"""How many examples with a label drawn at random the model gives just this label, and how many of the others theirs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from ..beds import relabelled
from ..measurement import Measurement, Snapshot
from ..objective import correct

CHUNK = 2048  # examples at a time


@final
@dataclass(frozen=True)
class Memorized(Measurement):
    """Training accuracy on examples whose labels were drawn at random, and on the others.

    - `memorized`: share of the first that the model gives the label that was drawn. One in as many as there are classes
      has it by chance: a draw may fall on the true label, too.
    - `clean_train_accuracy`: the same for all other training examples.

    The model is in eval mode. Which labels were drawn is known of tasks that are made from a `critbatch.bed.Bed` with
    `random_labels` and without copies: it is a fixed order of the training set. NaN where there are no such examples, and
    for targets that are no classes.

    Cost: one forward pass of the training set.
    Source: Jastrzebski et al. (2017), arXiv:1711.04623, who compare networks that memorize; Arpit et al. (2017),
    arXiv:1706.05394.

    Attributes:
        random_labels: Share of the labels that were drawn, as in the task's `Bed`.
        per_decade: Looks per factor of ten in steps; the last look of a run besides.
    """

    random_labels: float = 0.25
    per_decade: int = 12

    def __post_init__(self) -> None:
        if not 0 <= self.random_labels <= 1:
            raise ValueError(f"`Memorized(random_labels={self.random_labels})`: must be a share, between 0 and 1.")

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
        return {"memorized": "", "clean_train_accuracy": ""}

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        targets = snapshot.targets
        if targets.is_floating_point() or targets.dim() != 1:
            return dict.fromkeys(self.quantities, math.nan)
        is_right = _is_right(snapshot.model.eval(), snapshot.inputs, targets)
        is_drawn = torch.zeros(len(targets), dtype=torch.bool)
        is_drawn[relabelled(len(targets), self.random_labels)] = True
        return {"memorized": _share(is_right[is_drawn]), "clean_train_accuracy": _share(is_right[~is_drawn])}


@torch.no_grad()
def _is_right(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    pieces = zip(inputs.split(CHUNK), targets.split(CHUNK), strict=True)
    return torch.cat([correct(model(some), labels) for some, labels in pieces]).cpu()


def _share(values: Tensor) -> float:
    return float(values.double().mean()) if len(values) else math.nan
