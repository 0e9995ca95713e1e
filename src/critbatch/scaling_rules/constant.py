"""The same learning rate at every batch size."""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..scaling_rule import ScalingRule


@final
@dataclass(frozen=True)
class Constant(ScalingRule):
    """The same learning rate at every batch size."""

    @property
    @override
    def exponent(self) -> float:
        return 0.0
