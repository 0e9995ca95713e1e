"""How far the parameters have travelled from where the run began."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..measurement import Measurement, Snapshot


@final
@dataclass(frozen=True)
class DistanceFromStart(Measurement):
    """|w_t - w_0|, the Euclidean distance over all trained parameters, in the unit of a parameter.

    Frozen parameters and buffers, such as running statistics, do not count. Exact but for rounding: summed in double
    precision. At every look that is due and at the last one. Cost: one new initialisation of the model.

    Sources: Hoffer, Hubara and Soudry (2017), arXiv:1705.08741, Section 4 (over time); Keskar et al. (2016),
    arXiv:1609.04836, Section 4 (where runs end).
    """

    per_decade: int = 5

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
        return {"distance_from_start": "parameter"}

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        start = dict(snapshot.task.initialise(snapshot.seed).named_parameters())
        squares = 0.0
        for name, now in snapshot.model.named_parameters():
            if now.requires_grad:
                moved = now.detach().double() - start[name].detach().to(now.device, now.dtype).double()
                squares += float(moved.square().sum())
        return {"distance_from_start": squares**0.5}
