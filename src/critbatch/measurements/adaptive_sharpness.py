"""Sharpness in the scale of the parameters, which rescaling of layers leaves alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..measurement import Measurement, Snapshot
from ..minima.adaptive import STEPS, adaptive_sharpness, fisher_rao_norm
from ..minima.surface import Surface


@final
@dataclass(frozen=True)
class AdaptiveSharpness(Measurement):
    """Rises of the mean training loss within balls in the scale of the parameters, and the Fisher-Rao norm.

    - `adaptive_sharpness[elementwise]`: the Euclidean ball |u| <= `radius` in changes u_i |w_i|.
    - `adaptive_sharpness[filter]`: |u| <= `filter_radius` in changes u_i times the norm of w_i's filter.
    - `fisher_rao_norm`: root mean square over examples of w'g_i, g_i the gradient of an example's loss.

    All three stay the same where two layers are rescaled by alpha and 1/alpha, the first and the third also where single
    units are. Always of the first `examples` of the training set, in evaluation mode, BatchNorm by its running
    statistics; the task's l2 is left out, which no rescaling leaves alone. The rises are lower bounds; NaN where the
    loss is not finite, infinite where one in the ball is not. They are no guide to generalisation: Andriushchenko et al.
    (2023), arXiv:2302.07011.

    Cost: 2 (`steps` + 1) passes forward and backward, and a second pass backward.
    Sources: Kwon et al. (2021), arXiv:2102.11600; Liang et al. (2019), arXiv:1711.01530; see `critbatch.minima.adaptive`.

    Attributes:
        examples: At most so many.
        radius: Of the elementwise ball, without unit.
        filter_radius: Of the ball in units of filters, without unit.
        steps: Of each ascent.
        per_decade: Looks per factor of ten in steps; the last look of a run besides.
    """

    examples: int = 1000
    radius: float = 0.5
    filter_radius: float = 0.1
    steps: int = STEPS
    per_decade: int = 2

    def __post_init__(self) -> None:
        if self.examples < 1 or self.steps < 1 or not (self.radius > 0 and self.filter_radius > 0):
            raise ValueError(
                f"`AdaptiveSharpness(examples={self.examples}, radius={self.radius}, filter_radius={self.filter_radius}, "
                f"steps={self.steps})`: give at least 1 example and 1 step, and radii above 0."
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
            "adaptive_sharpness[elementwise]": "loss",
            "adaptive_sharpness[filter]": "loss",
            "fisher_rao_norm": "loss",
        }

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        some = slice(self.examples)
        surface = Surface(snapshot.model, snapshot.task.losses, snapshot.inputs[some], snapshot.targets[some])
        elementwise = adaptive_sharpness(surface, radius=self.radius, scale="elementwise", steps=self.steps)
        by_filter = adaptive_sharpness(surface, radius=self.filter_radius, scale="filter", steps=self.steps)
        return dict(zip(self.quantities, (elementwise, by_filter, fisher_rao_norm(surface)), strict=True))
