"""The Bayesian evidence for a small model, by Laplace's approximation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from typing_extensions import override

from ..data import Examples
from ..measurement import Measurement, Snapshot
from ..minima.evidence import MOST_PARAMETERS, laplace_evidence
from ..minima.surface import Surface
from ..objective import LOSSES, PerExample


@final
@dataclass(frozen=True)
class BayesianEvidence(Measurement):
    """-ln P(training set | model) = cost + Occam's factor, in nats, and the null model's, for models of few parameters.

    The prior is normal with precision lambda = l2 times the number of examples; for a task without l2, `precision`. Of the
    whole training set, in evaluation mode and float64. `log_evidence_ratio` is the gain over a model that takes all classes
    for equally likely; NaN for losses that are not cross-entropies. It is an approximation around a minimum: at a point
    from which the cost may still fall by a nat or more (`evidence_unfinished`) it says little. NaN for models with more
    than 3,000 parameters, and where the loss is not finite. A sequence counts as one example, its tokens averaged.

    Cost: as many products with the Hessian as there are parameters, each of two to three passes over the training set.
    Source: Smith and Le (2018), arXiv:1710.06451, Section 3.

    Attributes:
        precision: Of the prior where the task has no l2, in 1/(unit of parameter) squared.
        per_decade: Looks per factor of ten in steps; the last look of a run besides.
    """

    precision: float = 1.0
    per_decade: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.precision < math.inf:
            raise ValueError(f"`BayesianEvidence(precision={self.precision})`: must be above 0 and finite.")

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
        nats = ("evidence_cost", "evidence_occam", "log_evidence_ratio", "evidence_unfinished")
        return dict.fromkeys(nats, "nats") | {"evidence_clamped": "eigenvalues"}

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        task, model = snapshot.task, snapshot.model.double()
        if sum(one.numel() for one in model.parameters() if one.requires_grad) > MOST_PARAMETERS:
            return dict.fromkeys(self.quantities, math.nan)
        data = Examples(snapshot.inputs, snapshot.targets).to(snapshot.inputs.device, torch.float64)
        l2 = task.l2 or self.precision / len(data)
        surface = Surface(model, task.losses, data.inputs, data.targets, l2=l2)
        outputs = surface.outputs()
        classes = _classes(task.losses, outputs, data.targets)
        found = laplace_evidence(surface, classes=classes or 1)
        return {
            "evidence_cost": found.cost,
            "evidence_occam": found.occam,
            "log_evidence_ratio": found.ratio if classes else math.nan,
            "evidence_unfinished": found.unfinished,
            "evidence_clamped": float(found.clamped),
        }


def _classes(losses: PerExample, outputs: Tensor, targets: Tensor) -> int | None:
    """Return the number of classes if the loss is a cross-entropy, by name or by what it makes of some examples."""
    known = {LOSSES["cross_entropy"]: outputs.shape[-1], LOSSES["binary_cross_entropy"]: 2}
    if losses in known or outputs.dim() != 2 or targets.dim() != 1 or targets.is_floating_point():
        return known.get(losses)
    same = torch.allclose(losses(outputs[:8], targets[:8]), LOSSES["cross_entropy"](outputs[:8], targets[:8]))
    return outputs.shape[-1] if same else None
