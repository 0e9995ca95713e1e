"""How far one step along the gradient raises the loss."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..measurement import Measurement, Snapshot
from ..minima.ascent import RADIUS, ascent_sharpness, micro_batch_ascent_sharpness
from ..minima.surface import Surface


@final
@dataclass(frozen=True)
class AscentSharpness(Measurement):
    """L(w + radius g/|g|) - L(w), the sharpness of sharpness-aware minimisation: of all examples, and of groups of m.

    `ascent_sharpness` takes loss and gradient over all examples; `ascent_sharpness[m=32]` is the mean over groups of 32,
    each with its own. The second rises as m falls: gradients of few examples are longer. Neither survives rescaling of
    layers. Always of the first `examples` of the training set, in evaluation mode, BatchNorm by its running statistics;
    the task's l2 is left out. NaN where a loss is not finite, and for groups larger than the set.

    Cost: two passes forward and backward over the examples, for each of the quantities.
    Source: Foret et al. (2021), arXiv:2010.01412; see `critbatch.minima.ascent`.

    Attributes:
        examples: At most so many.
        radius: In units of a parameter.
        groups: Sizes m.
        per_decade: Looks per factor of ten in steps; the last look of a run besides.
    """

    examples: int = 1000
    radius: float = RADIUS
    groups: tuple[int, ...] = (32,)
    per_decade: int = 2

    def __post_init__(self) -> None:
        sizes = {size for size in self.groups if size >= 1}
        if self.examples < 1 or not self.radius > 0 or len(sizes) < len(self.groups):
            raise ValueError(
                f"`AscentSharpness(examples={self.examples}, radius={self.radius}, groups={self.groups})`: give at least "
                "1 example, a radius above 0, and sizes of groups from 1 that differ."
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
        return {"ascent_sharpness": "loss", **{f"ascent_sharpness[m={size}]": "loss" for size in self.groups}}

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        some = slice(self.examples)
        surface = Surface(snapshot.model, snapshot.task.losses, snapshot.inputs[some], snapshot.targets[some])
        values = [
            ascent_sharpness(surface, radius=self.radius),
            *(self._mean(surface, snapshot, one) for one in self.groups),
        ]
        return dict(zip(self.quantities, values, strict=True))

    def _mean(self, surface: Surface, snapshot: Snapshot, size: int) -> float:
        if size > surface.count:
            return math.nan
        found = micro_batch_ascent_sharpness(surface, size=size, radius=self.radius, generator=snapshot.generator).value
        return math.nan if found is None else found
