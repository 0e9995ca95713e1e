"""Mutual information of activations put into bins.

Activations T are a function of the input, so that without bins I(X;T) would be infinite, or the entropy of X: what is
measured belongs to the bins as much as to the network. Saxe et al. (2018) show that the bins decide whether a layer seems to
compress.
"""

from dataclasses import dataclass
from typing import final

import numpy as np


@final
@dataclass(frozen=True)
class Fixed:
    """Bins of equal width on [low, high]; what lies beyond goes to the outermost.

    Source: Shwartz-Ziv and Tishby (2017), arXiv:1703.00810: 30 on [-1, 1], for tanh.
    """

    bins: int = 30
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.bins < 1 or not self.low < self.high:
            raise ValueError(
                f"`Fixed(bins={self.bins}, low={self.low}, high={self.high})`: give at least 1 bin, and low below high."
            )

    def edges(self, activations: np.ndarray) -> np.ndarray:
        """Return the edges of the bins, shape (bin + 1,), whatever the activations."""
        return np.linspace(self.low, self.high, self.bins + 1)


@final
@dataclass(frozen=True)
class Range:
    """Bins of equal width from the smallest to the largest of the activations given: for ReLU, which knows no bounds.

    Source: Saxe et al. (2018), On the information bottleneck theory of deep learning, ICLR: 100 bins.
    """

    bins: int = 100

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise ValueError(f"`Range(bins={self.bins})`: give at least 1 bin.")

    def edges(self, activations: np.ndarray) -> np.ndarray:
        """Return the edges of the bins, shape (bin + 1,)."""
        return np.linspace(activations.min(), activations.max(), self.bins + 1)


@final
@dataclass(frozen=True)
class Saturating:
    """Bins whose edges are tanh of evenly spaced numbers: equally wide before a tanh, finer and finer towards -1 and 1.

    In double precision tanh is 1 from 19 on, in single from 9 on: edges beyond coincide, and leave their bins empty.

    Source: Saxe et al. (2018), the re-binning of a tanh network.
    """

    count: int = 100
    reach: float = 50.0

    def __post_init__(self) -> None:
        if self.count < 2 or not self.reach > 0:
            raise ValueError(
                f"`Saturating(count={self.count}, reach={self.reach})`: give at least 2 edges and a reach above 0."
            )

    def edges(self, activations: np.ndarray) -> np.ndarray:
        """Return `count` edges, whatever the activations."""
        return np.tanh(np.linspace(-self.reach, self.reach, self.count))


Bins = Fixed | Range | Saturating


def discretise(activations: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return the bin of each activation, from 0; a bin holds its lower edge, the last one both of its edges.

    Args:
        activations: Of any shape.
        edges: Shape (bin + 1,), not falling. What lies beyond the outermost counts to the outermost bins.

    Raises:
        ValueError: If an activation is not finite.
    """
    if not np.isfinite(activations).all():
        lost = int((~np.isfinite(activations)).sum())
        raise ValueError(f"`discretise`: {lost} of {activations.size} activations are not finite and have no bin.")
    return np.searchsorted(edges[1:-1], activations, side="right").astype(np.min_scalar_type(len(edges)))


def binned_information(codes: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return I(X;T) and I(T;Y) in bits, T being a row of bins, over the given examples, each as likely as the others.

    T is a function of X, hence I(X;T) = H(T), at most log2 of the number of examples; with many units nearly every example
    has a T of its own, and both are then what the examples allow, not what the layer knows. Nothing is corrected for few
    examples: the numbers are exact for a uniform choice among these.

    Source: Shwartz-Ziv and Tishby (2017), arXiv:1703.00810.

    Args:
        codes: Shape (example, unit), integers (`discretise`).
        labels: Shape (example,), the class of each example.

    Raises:
        ValueError: If there are no examples, or not as many labels.
    """
    if not len(codes) or len(labels) != len(codes):
        raise ValueError(
            f"`binned_information`: {len(codes)} rows of bins and {len(labels)} labels; both must be of the same examples."
        )
    rows = _one_each(np.ascontiguousarray(codes))
    classes = np.unique(labels, return_inverse=True)[1].ravel()
    given = rows * (int(classes.max()) + 1) + classes
    whole = _entropy(rows)
    return whole, whole + _entropy(classes) - _entropy(given)


def _one_each(codes: np.ndarray) -> np.ndarray:
    """Return one number for each different row, shape (example,)."""
    if not codes.shape[1]:
        return np.zeros(len(codes), dtype=np.int64)
    as_bytes = codes.view(np.dtype((np.void, codes.dtype.itemsize * codes.shape[1])))
    return np.unique(as_bytes, return_inverse=True)[1].ravel()


def _entropy(values: np.ndarray) -> float:
    """Return the entropy in bits of a uniform choice among `values`."""
    counts = np.unique(values, return_counts=True)[1]
    return float((counts * np.log2(len(values) / counts)).sum() / len(values))
