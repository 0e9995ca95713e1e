"""What branched training asks of a training loop."""

from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Branchable(Protocol):
    """A training that can be put back to its checkpoint and go on from there."""

    def load(self, seed: int) -> None:
        """Put model, optimizer, learning rate and data position back; `seed` fixes the order of data from there."""

    def step(self, batch_size: int, factor: float) -> None:
        """Take one update on the next `batch_size` examples, at the checkpoint's learning rate times `factor`."""

    def evaluate(self) -> np.ndarray | float:
        """Return losses on a set that is always the same: one for each example, or their mean."""
