"""Mutual information of a linear network with Gaussian inputs and added noise, exactly."""

import numpy as np


def linear_information(weights: np.ndarray, inputs: np.ndarray, variance: float) -> float:
    """Return I(X;T) in bits for T = W X + noise, X Gaussian: 1/2 log2 det(1 + W C W'/variance).

    A layer of a deep linear network is linear in the inputs: give the product of the weights up to it.

    Source: Cover and Thomas (2006), Elements of Information Theory, Chapter 9; used for networks by Saxe et al. (2018).

    Args:
        weights: W, shape (unit, input).
        inputs: C, their covariance, shape (input, input).
        variance: Of the noise, of every unit.
    """
    _check_noise(variance)
    return _half_log_determinant(np.eye(len(weights)) + weights @ inputs @ weights.T / variance)


def linear_target_information(
    weights: np.ndarray, teacher: np.ndarray, inputs: np.ndarray, *, variance: float, target_variance: float
) -> float:
    """Return I(T;Y) in bits for T = W X + noise and targets Y = V X + noise of their own, X Gaussian.

    Source: derived; half of log2 of the determinant of Cov(T) over that of Cov(T|Y).

    Args:
        weights: W, shape (unit, input).
        teacher: V, shape (target, input).
        inputs: Covariance of X, shape (input, input).
        variance: Of the noise on every unit.
        target_variance: Of the noise on every target; may be 0.
    """
    _check_noise(variance)
    units = np.eye(len(weights)) + weights @ inputs @ weights.T / variance
    targets = target_variance * np.eye(len(teacher)) + teacher @ inputs @ teacher.T
    shared = weights @ inputs @ teacher.T / variance**0.5
    given_targets = units - shared @ np.linalg.pinv(targets, hermitian=True) @ shared.T
    return _half_log_determinant(units) - _half_log_determinant(given_targets)


def _half_log_determinant(matrix: np.ndarray) -> float:
    """Return half of log2 of the determinant of a symmetric matrix with all eigenvalues above 0."""
    return float(np.linalg.slogdet(matrix)[1] / (2 * np.log(2)))


def _check_noise(variance: float) -> None:
    """Refuse noise without variance.

    Raises:
        ValueError: If it is not above 0.
    """
    if not variance > 0:
        raise ValueError(f"a noise variance of {variance}: must be above 0, without noise the information is infinite.")
