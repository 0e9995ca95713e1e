"""JSON lines: one object for each measured step, in a plain file."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import final

from typing_extensions import override

from ..tracker import Tracker


@final
class Jsonl(Tracker):
    """Adds a line to a file at each measured step, at once on disk.

    Args:
        path: Of the file; its folder is made, and what is in it is kept.
    """

    def __init__(self, path: str | Path) -> None:
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        self._file = place.open("a", encoding="utf-8")

    @override
    def write(self, step: int, values: Mapping[str, float]) -> None:
        known = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps({"step": step, **known}, allow_nan=False) + "\n")
        self._file.flush()

    @override
    def close(self) -> None:
        self._file.close()
