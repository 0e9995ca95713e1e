"""Means of numbers of which some are only known to be larger than what was seen (right-censored)."""

import numpy as np
from scipy.special import log_ndtr

ROUNDS = 40
LEAST_SPREAD = 1e-6


def inverse_mills(z: np.ndarray) -> np.ndarray:
    """Return the mean of a standard normal number given that it exceeds `z`."""
    return np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - log_ndtr(-z))


def censored_means(values: np.ndarray, censored: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean of each row by maximum likelihood, from normal numbers with one spread for all rows.

    A number that was not reached counts as "larger than this", neither left out (the mean would come out low) nor taken
    as it stands (low too). Rows in which nothing was reached have no mean: infinity.

    Source: Tobin (1958), Econometrica 26, 24-36; solved by expectation and maximisation.

    Args:
        values: Shape (row, seed): the number, or where `censored` its lower bound; NaN where there is none; infinity
            in rows that must not count.
        censored: Shape (row, seed).
        weights: Shape (replicate, seed), at least 0.

    Returns:
        Shape (replicate, row).
    """
    there = ~np.isnan(values)
    known = np.where(there, values, 0.0)
    counts = weights @ there.T  # (replicate, row)
    with np.errstate(invalid="ignore", divide="ignore"):
        if not (censored & there).any():
            return np.where(counts > 0, _weighted(weights, known, counts), np.inf)
        return _by_expectation(known, there, censored & there, weights)


def _weighted(weights: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    finite = np.where(np.isfinite(values), values, 0.0)
    lost = weights @ np.isinf(values).T > 0
    return np.where(lost, np.inf, (weights @ finite.T) / counts)


def _by_expectation(known: np.ndarray, there: np.ndarray, cut: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return means (replicate, row): cut numbers are replaced by their mean given the current fit, until it rests."""
    seen = there & ~cut
    lost = np.isinf(known).any(-1)
    usable = np.asarray(~lost & seen.any(-1))
    shares = weights[:, None, :] * (there & usable[:, None])  # (replicate, row, seed)
    counts = shares.sum(-1)
    finite = np.where(np.isfinite(known), known, 0.0)
    observed = shares * seen
    means = (observed * finite).sum(-1) / np.maximum(observed.sum(-1), 1e-300)
    free = np.maximum(counts.sum(-1) - (counts > 0).sum(-1), 1.0)
    spread = np.sqrt((observed * (finite - means[..., None]) ** 2).sum((-1, -2)) / free)
    for _ in range(ROUNDS):
        scale = np.maximum(spread, LEAST_SPREAD)[:, None, None]
        z = (finite - means[..., None]) / scale
        ratio = inverse_mills(z)
        filled = np.where(cut, means[..., None] + scale * ratio, finite)
        left = np.where(cut, scale**2 * np.clip(1 + z * ratio - ratio**2, 0, 1), 0.0)
        means = (shares * filled).sum(-1) / np.maximum(counts, 1e-300)
        spread = np.sqrt((shares * ((filled - means[..., None]) ** 2 + left)).sum((-1, -2)) / free)
    bounds = (shares * finite).sum(-1) / np.maximum(counts, 1e-300)  # of replicates in which nothing arrived
    return np.where(usable & (counts > 0), np.where(observed.sum(-1) > 0, means, bounds), np.inf)
