"""Whether a curve has stopped improving."""

import numpy as np

from .censoring import smooth

TOLERANCE = 0.01


def has_converged(steps: np.ndarray, values: np.ndarray, direction: str) -> bool:
    """Return whether the smoothed curve gained less than 1% of all its progress in the second half of its steps.

    Args:
        steps: Shape (look,), ascending.
        values: Shape (look,).
        direction: "above" if higher is better, else "below".
    """
    if len(steps) < 4 or not np.isfinite(values).all():
        return False
    smoothed = smooth(values) * (1.0 if direction == "above" else -1.0)
    early = smoothed[steps <= steps[-1] / 2]
    if len(early) == len(smoothed):
        return False
    gained, late = early.max() - smoothed[0], smoothed.max() - early.max()
    return bool(gained > 0 and late <= TOLERANCE * (gained + late))
