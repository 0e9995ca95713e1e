"""The curvature that mini-batch steps feel, against the learning rate's limit of stability."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..estimate import Estimate
from ..measurement import Measurement, Snapshot
from ..minima.batches import UNIT, batch_curvatures
from ..minima.surface import Normalisation, Surface


@final
@dataclass(frozen=True)
class BatchSharpness(Measurement):
    """g'Hg and |g|^2 of mini-batches of the run's batch size, and 2 / learning rate, the edge of stability.

    - `batch_sharpness[mean_of_ratios]`, E[g'Hg / |g|^2], and `batch_sharpness[ratio_of_means]`, E[g'Hg] / E[|g|^2]: two
      definitions that differ; and of each the half width of its 95% interval over batches, `batch_sharpness_error[...]`,
      infinite where it has none.
    - `batch_curvature`, E[g'Hg], and `batch_squared_norm`, E[|g|^2], whose means over runs give a ratio of means.
    - `stability_edge`, 2 / learning rate: the run's rate before its schedule, of plain SGD.

    In contrast to curvature on one fixed set it depends on the batch size, and is meant to. Batches are uniform subsets
    of the first `examples` of the training set, or of as many as a batch has where that is more; evaluation mode;
    BatchNorm by its "running" statistics, or by those of each "batch". The task's l2 is part of it, as it is of the
    steps; weight decay of an optimizer is not. NaN where a gradient is not finite or 0.

    Cost: `batches` batches, about four passes over each; with `second_pass`, which needs no second derivative, two.
    Source: Andreyev and Beneventano (2024), arXiv:2412.20553; see `critbatch.minima.batches`.

    Attributes:
        examples: At most so many.
        batches: At least 2.
        second_pass: Take g'Hg from a second pass after a step of the run's learning rate.
        normalisation: Of BatchNorm.
        per_decade: Looks per factor of ten in steps; the last look of a run besides.
    """

    examples: int = 1000
    batches: int = 32
    second_pass: bool = False
    normalisation: Normalisation = "running"
    per_decade: int = 2

    def __post_init__(self) -> None:
        if self.examples < 1 or self.batches < 2:
            raise ValueError(
                f"`BatchSharpness(examples={self.examples}, batches={self.batches})`: give at least 1 example, and at "
                "least 2 batches to see them differ."
            )

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
        return {
            "batch_sharpness[mean_of_ratios]": UNIT, "batch_sharpness[ratio_of_means]": UNIT,
            "batch_sharpness_error[mean_of_ratios]": UNIT, "batch_sharpness_error[ratio_of_means]": UNIT,
            "batch_curvature": "loss cubed per (unit of parameter) to the fourth",
            "batch_squared_norm": "(loss per unit of parameter) squared", "stability_edge": UNIT,
        }  # fmt: skip

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        some = slice(max(self.examples, snapshot.batch_size))
        surface = Surface(
            snapshot.model, snapshot.task.losses, snapshot.inputs[some], snapshot.targets[some], l2=snapshot.task.l2,
            normalisation=self.normalisation,
        )  # fmt: skip
        found = batch_curvatures(
            surface, batch_size=min(snapshot.batch_size, surface.count), batches=self.batches,
            generator=snapshot.generator, second_pass=snapshot.learning_rate if self.second_pass else None,
        )  # fmt: skip
        both = found.mean_of_ratios(), found.ratio_of_means()
        values = [
            *(math.nan if one.value is None else one.value for one in both), *map(_error, both),
            found.curvature.mean(), found.squared_norm.mean(), 2 / snapshot.learning_rate,
        ]  # fmt: skip
        return dict(zip(self.quantities, map(float, values), strict=True))


def _error(estimate: Estimate) -> float:
    if estimate.value is None:
        return math.nan
    return math.inf if estimate.low is None or estimate.high is None else (estimate.high - estimate.low) / 2
