"""The learning rate grows in proportion to the batch size."""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..scaling_rule import ScalingRule


@final
@dataclass(frozen=True)
class Linear(ScalingRule):
    """The learning rate grows in proportion to the batch size, which keeps the progress per example.

    Source: Goyal et al. (2017), arXiv:1706.02677, Section 2.1.
    """

    @property
    @override
    def exponent(self) -> float:
        return 1.0
