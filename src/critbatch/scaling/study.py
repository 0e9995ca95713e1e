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
        where: Which file says it.
    """

    exponent: float
    low: float | None
    high: float | None
    sizes: tuple[int, ...]
    rates: tuple[float, ...]
    where: str

    def ratio(self, from_batch: int, to_batch: int) -> float | None:
        """Return the best rate at `to_batch` over that at `from_batch`, interpolated; None outside the measured sizes."""
        if not self.sizes or min(from_batch, to_batch) < self.sizes[0] or max(from_batch, to_batch) > self.sizes[-1]:
            return None
        logs = np.interp(np.log([from_batch, to_batch]), np.log(self.sizes), np.log(self.rates))
        return float(np.exp(logs[1] - logs[0]))


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
        float(exponent["value"]), exponent.get("low"), exponent.get("high"), tuple(size for size, _ in points),
        tuple(rate for _, rate in points), str(path),
    )  # fmt: skip


def _points(found: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """Return batch sizes with a best rate that has both ends: no edge of the grid."""
    whole = [
        (int(one["batch_size"]), float(one["learning_rate"]["value"]))
        for one in found
        if one["learning_rate"].get("value") is not None
        and one["learning_rate"].get("low") is not None
        and one["learning_rate"].get("high") is not None
    ]
    return sorted(whole)
