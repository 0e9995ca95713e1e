"""The terminal: one line that is written anew at each measured step."""

from collections.abc import Mapping
from typing import final

from rich.console import Console
from rich.live import Live
from rich.text import Text
from typing_extensions import override

from ..estimate import short
from ..tracker import Tracker


@final
class Terminal(Tracker):
    """Shows the noise scale beside the batch size; a file or pipe gets the last line alone.

    Args:
        console: Where to write, None for standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._live = Live(console=console or Console(stderr=True), auto_refresh=False)

    @override
    def write(self, step: int, values: Mapping[str, float]) -> None:
        if not self._live.is_started:
            self._live.start()
        self._live.update(Text(_line(step, values), no_wrap=True, overflow="ellipsis"), refresh=True)

    @override
    def close(self) -> None:
        self._live.stop()


def _line(step: int, values: Mapping[str, float]) -> str:
    scale, low, high = (values.get(f"noise/scale{end}") for end in ("", "_low", "_high"))
    if scale is None:
        text = "noise scale undetermined so far"
    else:
        text = f"noise scale {short(scale)}"
        if low is not None and high is not None:
            text += f" [{short(low)}, {short(high)}]"
    parts = [f"step {step}", text]
    for name, said in (("batch_size", "batch"), ("gradient_norm", "gradient norm"), ("learning_rate", "rate")):
        value = values.get(f"noise/{name}")
        if value is not None:
            parts.append(f"{said} {short(value)}")
    return "  ".join(parts)
