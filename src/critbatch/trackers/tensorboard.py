"""TensorBoard: scalars in an event file."""

from collections.abc import Mapping
from pathlib import Path
from typing import final

from typing_extensions import override

from ..tracker import Tracker

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError as error:
    raise ImportError("TensorBoard is not installed. Run: pip install 'critbatch[tensorboard]'") from error


@final
class Tensorboard(Tracker):
    """Writes scalars.

    Args:
        folder: Of the event file: the same as the training's, or one of its own.
    """

    def __init__(self, folder: str | Path) -> None:
        self._writer = SummaryWriter(str(folder))

    @override
    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    @override
    def close(self) -> None:
        self._writer.close()
