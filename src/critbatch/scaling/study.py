"""The learning-rate rule that a task was measured to obey."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np


@final
@dataclass(frozen=True)
class Measured:
    """What a study found of the best learning rate against the batch size.

    Attributes:
        exponent: Of the batch size, with its interval.
        low: None where the study gives no interval.
        high: Likewise.
        sizes: Batch sizes whose best learning rate lies inside its grid, ascending.
        rates: Their best learning rates.
        widths: Half the width of each one's interval, in logs.
        where: Which file says it.
    """

    exponent: float
    low: float | None
    high: float | None
    sizes: tuple[int, ...]
    rates: tuple[float, ...]
    widths: tuple[float, ...]
    where: str

    def ratio(self, from_batch: int, to_batch: int) -> tuple[float, float] | None:
        """Return the best rate at `to_batch` over that at `from_batch`, and half the width of its interval in logs.

        Interpolated between the study's batch sizes; None outside them.
        """
        if not self.sizes or min(from_batch, to_batch) < self.sizes[0] or max(from_batch, to_batch) > self.sizes[-1]:
            return None
        places = np.log([from_batch, to_batch])
        logs, widths = (np.interp(places, np.log(self.sizes), values) for values in (np.log(self.rates), self.widths))
        return float(np.exp(logs[1] - logs[0])), float(np.hypot(*widths)) if from_batch != to_batch else 0.0


def read_study(place: str | Path) -> Measured:
    """Return the learning-rate rule in a study's result.json.

    Args:
        place: The file, or the folder that `critbatch run --out` wrote.

    Raises:
        ValueError: If there is no such file, or it holds no rule; with the study's own reason.
    """
    path = Path(place)
    path = path / "result.json" if path.is_dir() else path
    try:
        document = json.loads(path.read_text())
        rule = document["learning_rate_rule"]
        exponent = rule["exponent"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"`read_study({str(place)!r})`: no study's result.json there ({type(error).__name__}: {error}). Give the folder "
            "that `critbatch run --out` wrote."
        ) from error
    if exponent.get("value") is None:
        raise ValueError(f"`read_study({str(place)!r})`: the study found no rule: {rule.get('reason')}.")
    points = _points(rule.get("points", []))
    return Measured(
        exponent=float(exponent["value"]), low=exponent.get("low"), high=exponent.get("high"),
        sizes=tuple(size for size, _, _ in points), rates=tuple(rate for _, rate, _ in points),
        widths=tuple(width for _, _, width in points), where=str(path),
    )  # fmt: skip


def _points(found: list[dict[str, Any]]) -> list[tuple[int, float, float]]:
    """Return batch sizes with a best rate that has both ends, so that it is at no edge of the grid; and its log half width."""
    whole = []
    for one in found:
        value, low, high = (one["learning_rate"].get(key) for key in ("value", "low", "high"))
        if value and low and high:
            whole.append((int(one["batch_size"]), float(value), float(np.log(high / low)) / 2))
    return sorted(whole)
