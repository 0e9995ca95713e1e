"""Whether points lie further from a formula than their noise explains."""

import numpy as np
from scipy.special import fdtrc


def lack_of_fit(residuals: np.ndarray, variance: float, *, parameters: int, degrees: float) -> float:
    """Return the p-value of the hypothesis that only noise separates points from the formula fitted to them.

    Source: Fisher (1922), Journal of the Royal Statistical Society 85, 597-612 (F test with an independent estimate of
    the noise).

    Args:
        residuals: Shape (point,).
        variance: Of one point, estimated from elsewhere.
        parameters: Fitted to the points.
        degrees: Of freedom of that variance.

    Returns:
        1 where no freedom is left, or nothing separates them.
    """
    free = len(residuals) - parameters
    squares = float((residuals**2).sum())
    if free < 1 or squares == 0:
        return 1.0
    return float(fdtrc(free, degrees, squares / free / variance)) if variance > 0 else 0.0
