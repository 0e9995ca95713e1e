"""How often reported sets hold the truth."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np


class Ends(Protocol):
    low: float | None
    high: float | None


def covered(sets: Iterable[Ends], truth: float) -> np.ndarray:
    """Return whether each set holds the truth; an open end excludes nothing."""
    return np.array([_above(one.low, truth) and not _beyond(one.high, truth) for one in sets])


def _above(low: float | None, truth: float) -> bool:
    return low is None or low <= truth


def _beyond(high: float | None, truth: float) -> bool:
    return high is not None and high < truth


def open_share(sets: Sequence[Ends]) -> float:
    return sum(one.high is None for one in sets) / len(sets)


def assert_covers(hits: np.ndarray, lowest: float, highest: float) -> None:
    """Fail if the coverage lies outside of the band by more than 3 of its own standard errors."""
    found, error = hits.mean(), (hits.mean() * (1 - hits.mean()) / len(hits)) ** 0.5
    assert lowest - 3 * error <= found <= highest + 3 * error, f"coverage {found:.3f} +- {error:.3f}"
