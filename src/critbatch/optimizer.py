"""The update rule of a run."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch


class Optimizer(ABC):
    """Hyperparameters of an update rule. The learning rate is not among them: it belongs to the run."""

    @property
    @abstractmethod
    def first_learning_rate(self) -> float:
        """Return where the search for a learning rate starts on a problem that nothing is known about."""

    @abstractmethod
    def build(self, parameters: Iterable[torch.nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """Return the reference implementation from `torch.optim` over `parameters`."""
