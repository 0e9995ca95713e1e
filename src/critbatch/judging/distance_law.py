"""How the distance from the start grows with the number of updates: like a logarithm, or like a power."""

from collections.abc import Mapping

import numpy as np

from ..analysis.grid import Grid
from ..claim import Figure
from ..statistics.information import aicc
from .figures import line

QUANTITY = "distance_from_start"
GROWTH = 1.2  # factor between the steps at which distances are compared
POWERS = np.linspace(0.01, 1.5, 300)
FEWEST = 7  # looks


def fits_by_seed(grid: Grid) -> dict[int, tuple[float, float]]:
    """Return for each seed by how much AICc prefers a + b log t to a t^p, and b, from distances at steps t >= 1."""
    found = {}
    for size in grid.batch_sizes()[:1]:
        for tracks in grid.tracks[size].values():
            for seed, track in tracks.items():
                values = track.values.get(QUANTITY)
                if values is None or not track.completed:
                    continue
                chosen = spaced(track.step, np.isfinite(values))
                if len(chosen) >= FEWEST:
                    found[seed] = compare_laws(track.step[chosen], values[chosen])
    return found


def spaced(steps: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the places of the known looks that come next after each power of 1.2, each once."""
    there = np.flatnonzero(known & (steps >= 1))
    if not len(there):
        return there
    wanted = GROWTH ** np.arange(np.floor(np.log(steps[there[-1]]) / np.log(GROWTH)) + 1)
    return there[np.unique(np.searchsorted(steps[there], wanted - 1e-9))]


def compare_laws(steps: np.ndarray, distances: np.ndarray) -> tuple[float, float]:
    """Return AICc of a t^p less that of a + b log t, both by least squares of the distance, and b.

    Args:
        steps: t, shape (look,), at least 1.
        distances: Shape (look,).
    """
    logs = np.log(steps)
    slope, start = np.polyfit(logs, distances, 1)
    straight = float(((start + slope * logs - distances) ** 2).sum())
    powers = steps ** POWERS[:, None]
    scales = (powers @ distances) / (powers**2).sum(1)
    bent = float(((scales[:, None] * powers - distances) ** 2).sum(1).min())
    count = len(steps)
    return aicc(bent, count, 2) - aicc(straight, count, 2), float(slope)


def paths(grids: Mapping[str, Grid]) -> Figure:
    """Return mean distances against updates."""
    lines = []
    for arm, grid in grids.items():
        tracks = [one for size in grid.batch_sizes() for row in grid.tracks[size].values() for one in row.values()]
        seen = [one for one in tracks if one.completed and QUANTITY in one.values]
        if not seen or len({len(one.step) for one in seen}) > 1:
            continue
        values = np.stack([one.values[QUANTITY] for one in seen])
        kept = (seen[0].step >= 1) & np.isfinite(values).all(0)
        lines.append(line(arm, list(seen[0].step[kept]), values[:, kept]))
    return Figure("updates", "distance from the start", tuple(lines))
