"""How high the loss rises within a small box around the parameters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..measurement import Measurement, Snapshot
from ..minima.keskar import keskar_sharpness, random_directions
from ..minima.surface import Normalisation, Surface

SPACES = ("full", "random", "adaptive")


@final
@dataclass(frozen=True)
class KeskarSharpness(Measurement):
    """Metric 2.1 of Keskar et al., phi = 100 (max over a box - f) / (1 + f), of the mean training loss f, in %.

    For each half width epsilon, and in the "full" space; in 100 "random" directions, drawn anew at each look; and
    "adaptive", in the full space with the box epsilon |w_i| in place of epsilon (|w_i| + 1), which rescaling of layers
    leaves alone. Beside each: `keskar_at_bound`, the share of coordinates that the maximum has on the box's boundary.
    `keskar_evaluations` counts passes. A lower bound each: see `critbatch.minima.keskar`, also for what is ours.

    phi depends on f: compare runs at equal training loss. Always of the first `examples` of the training set, in
    evaluation mode; BatchNorm by its "running" statistics, or by those of these examples ("batch"). The task's l2 is left
    out. NaN where f is not finite, infinite where a loss in the box is not.

    Cost: 25 to 40 passes forward and backward for each phi, six as it is; memory for 100 random numbers a parameter.
    Source: Keskar et al. (2016), arXiv:1609.04836, Metric 2.1.

    Attributes:
        examples: At most so many.
        epsilons: Half widths of the box.
        normalisation: Of BatchNorm.
        per_decade: Looks per factor of ten in steps; the last look of a run besides.
    """

    examples: int = 1000
    epsilons: tuple[float, ...] = (1e-3, 5e-4)
    normalisation: Normalisation = "running"
    per_decade: int = 1

    def __post_init__(self) -> None:
        widths = {f"{epsilon:g}" for epsilon in self.epsilons if 0 < epsilon < math.inf}
        if self.examples < 1 or not widths or len(widths) < len(self.epsilons):
            raise ValueError(
                f"`KeskarSharpness(examples={self.examples}, epsilons={self.epsilons})`: give at least 1 example, and "
                "half widths above 0 that differ."
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
        cases = [f"[{space},{epsilon:g}]" for space in SPACES for epsilon in self.epsilons]
        rises = {f"keskar_sharpness{case}": "%" for case in cases}
        bounds = {f"keskar_at_bound{case}": "share" for case in cases}
        return {**rises, **bounds, "keskar_evaluations": "passes"}

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        some = slice(self.examples)
        surface = Surface(
            snapshot.model, snapshot.task.losses, snapshot.inputs[some], snapshot.targets[some],
            normalisation=self.normalisation,
        )  # fmt: skip
        directions = random_directions(surface, generator=snapshot.generator)
        rises = [
            keskar_sharpness(
                surface, epsilon=epsilon, directions=directions if space == "random" else None,
                offset=0.0 if space == "adaptive" else 1.0, generator=snapshot.generator,
            )
            for space in SPACES for epsilon in self.epsilons
        ]  # fmt: skip
        evaluations = sum(one.evaluations for one in rises)
        values = [*(one.value for one in rises), *(one.at_bound for one in rises), evaluations]
        return dict(zip(self.quantities, map(float, values), strict=True))
