"""How the learning rate moves while a budget is spent."""

from abc import ABC, abstractmethod


class Schedule(ABC):
    """A factor on the run's learning rate as a function of the fraction of the budget used."""

    @abstractmethod
    def factor(self, used: float) -> float:
        """Return the factor for the next step when the fraction `used` in [0, 1) of the budget is spent."""
