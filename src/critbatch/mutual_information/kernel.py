"""Mutual information of activations with Gaussian noise added, between two bounds that need only their distances.

The noise is added for the measurement and is not in the network. With T = activations + N(0, variance) the distribution of T
over given examples is a mixture of one Gaussian for each, whose entropy has a bound on either side.
"""

import numpy as np

BLOCK = 1024  # rows of distances at once
KULLBACK_LEIBLER, BHATTACHARYYA = (
    2,
    8,
)  # the divergence of two such Gaussians is their squared distance / (this x variance)


def noisy_information(activations: np.ndarray, variance: float) -> tuple[float, float]:
    """Return a lower and an upper bound of I(X;T) in bits, over the given examples, each as likely as the others.

    -(1/n) sum_i log2 (1/n) sum_j exp(-d_ij): above for d the Kullback-Leibler divergence, below for the Bhattacharyya
    distance of the Gaussians around i and j. Both are exact where activations coincide or are far apart.

    Source: Kolchinsky and Tracey (2017), arXiv:1706.02419, pairwise distances; for networks Saxe et al. (2018), who take the
    upper one.

    Args:
        activations: Shape (example, unit).
        variance: Of the noise, of every unit (Saxe et al.: 0.001, 0.1 in an appendix).

    Raises:
        ValueError: If there is no noise, or no example.
    """
    if not variance > 0 or not len(activations):
        raise ValueError(
            f"`noisy_information(variance={variance})` of {len(activations)} examples: give a variance above 0 (without "
            "noise the information is not finite), and at least one example."
        )
    values = np.asarray(activations, dtype=float)
    values = values - values.mean(0)  # distances come from differences of large numbers otherwise
    squares = (values**2).sum(1)
    sums = np.zeros(2)
    for start in range(0, len(values), BLOCK):
        some = slice(start, start + BLOCK)
        apart = np.maximum(squares[some, None] + squares - 2 * values[some] @ values.T, 0)
        for place, scale in enumerate((BHATTACHARYYA, KULLBACK_LEIBLER)):
            sums[place] -= np.log2(np.exp(-apart / (scale * variance)).mean(1)).sum()
    low, high = sums / len(values)
    return float(low), float(high)


def noisy_target_information(
    activations: np.ndarray, labels: np.ndarray, variance: float
) -> tuple[float, float]:  # fmt: skip
    """Return a lower and an upper bound of I(T;Y) = I(X;T) - I(X;T|Y) in bits.

    Bounds of the difference need the opposite bound of what is subtracted. The difference of the two upper bounds, as
    Saxe et al. (2018) plot it, is an estimate between these and no bound.

    Source: as `noisy_information`.

    Args:
        activations: Shape (example, unit).
        labels: Shape (example,), the class of each example.
        variance: Of the noise.

    Raises:
        ValueError: If there are not as many labels as examples.
    """
    if len(labels) != len(activations):
        raise ValueError(f"`noisy_target_information`: {len(activations)} examples and {len(labels)} labels.")
    low, high = noisy_information(activations, variance)
    for label in np.unique(labels):
        of_label = labels == label
        share = of_label.mean()
        below, above = noisy_information(activations[of_label], variance)
        low, high = low - share * above, high - share * below
    return float(low), float(high)
