"""The interface of trackers: where a monitor's numbers go."""

from abc import ABC, abstractmethod
from collections.abc import Mapping


class Tracker(ABC):
    """Keeps numbers of a live training, step by step."""

    @abstractmethod
    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Keep the numbers of a step; what is not known is left out."""

    @abstractmethod
    def close(self) -> None:
        """Finish; nothing is written after it."""
