"""Stationary processes with known laws."""

import numpy as np


def autoregressive(
    drift: np.ndarray, root: np.ndarray, *, steps: int, draws: int, seed: int, burn: int = 200
) -> np.ndarray:  # fmt: skip
    """Return x(t+1) = drift x(t) + root noise, shape (draw, step, coordinate), after a burn-in."""
    noise = np.random.default_rng(seed).standard_normal((steps + burn, draws, len(drift))) @ root.T
    for step in range(1, steps + burn):
        noise[step] += noise[step - 1] @ drift.T
    return noise[burn:].transpose(1, 0, 2)


def stationary_covariance(drift: np.ndarray, root: np.ndarray) -> np.ndarray:
    """Return C with C = drift C drift' + root root', as a linear system."""
    size = len(drift)
    flat = np.linalg.solve(np.eye(size**2) - np.kron(drift, drift), (root @ root.T).ravel())
    return flat.reshape(size, size)


def rotation(persistence: float, angle: float) -> np.ndarray:
    """Return a shrinking turn from the first coordinate towards the second."""
    return persistence * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


ROOT = np.array([[1.0, 0.0], [0.8, 0.5]])  # noise that is neither round nor aligned with the coordinates
TURNING = rotation(0.9, 0.1)


def balanced_drift(root: np.ndarray) -> np.ndarray:
    """Return a drift whose process of this noise has symmetric lagged covariances, though it is not symmetric itself."""
    modes = root @ np.diag([1 / (1 - 0.95**2) ** 0.5, 1 / (1 - 0.6**2) ** 0.5])
    return modes @ np.diag([0.95, 0.6]) @ np.linalg.inv(modes)
