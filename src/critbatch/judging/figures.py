"""Lines of a verdict's figure."""

from collections.abc import Sequence

import numpy as np

from ..claim import Line
from ..statistics.means import mean_estimate


def line(name: str, x: Sequence[float], values: np.ndarray, *, logarithmic: bool = False) -> Line:
    """Return means over seeds with their intervals.

    Args:
        name: Of the line.
        x: Shape (point,).
        values: Shape (seed, point); values that are not finite are left out, and points without any; so are
            values that have no logarithm, where logarithms are averaged.
        logarithmic: Whether to average logarithms.
    """
    points = []
    for place, column in zip(x, np.atleast_2d(values).T, strict=True):
        kept = column[np.isfinite(column) & ((column > 0) | (not logarithmic))]
        if len(kept):
            found = mean_estimate(kept, unit="", definition="", logarithmic=logarithmic)
            if found.value is not None:
                points.append((float(place), found.low, found.value, found.high))
    return Line(name, tuple(points))
