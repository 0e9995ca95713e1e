"""A constant learning rate: the one schedule that knows no horizon, so that one run can be read at any budget."""

from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..schedule import Schedule


@final
@dataclass(frozen=True)
class Constant(Schedule):
    """The learning rate stays what it is."""

    @override
    def factor(self, used: float) -> float:
        return 1.0
