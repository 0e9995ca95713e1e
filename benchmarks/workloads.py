"""What is trained when an update is timed. Imports numpy alone, so that every peer can read it."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

CLASSES = 10
SIDE = 28  # of the images that the CNN sees
CHANNELS = (16, 32)
BYTES = 4  # of a float32


@final
@dataclass(frozen=True)
class Workload:
    """A model, the number of its training examples, and the batch sizes at which it is timed.

    Attributes:
        widths: Of the layers of a perceptron, from inputs to classes; empty for the CNN.
        batch_norm: Whether each hidden layer is normalised over the batch.
    """

    name: str
    title: str
    examples: int
    batch_sizes: tuple[int, ...]
    widths: tuple[int, ...] = ()
    batch_norm: bool = False

    @property
    def is_cnn(self) -> bool:
        """Return whether this is the convolutional network."""
        return not self.widths

    def inputs(self) -> NDArray[np.float32]:
        """Return the examples, standard normal: (example, feature), or (example, channel, row, column) for the CNN."""
        shape = (1, SIDE, SIDE) if self.is_cnn else (self.widths[0],)
        return np.random.default_rng(0).standard_normal((self.examples, *shape), dtype=np.float32)

    def targets(self) -> NDArray[np.int64]:
        """Return the class of each example, uniform."""
        return np.random.default_rng(1).integers(CLASSES, size=self.examples)

    def layers(self) -> list[tuple[int, int]]:
        """Return, for each layer with weights, its weights and how often an example uses each of them."""
        if not self.is_cnn:
            return [(width * following, 1) for width, following in itertools.pairwise(self.widths)]
        first, second = CHANNELS
        return [
            (9 * first, SIDE**2),
            (9 * first * second, (SIDE // 2) ** 2),
            (second * (SIDE // 4) ** 2 * CLASSES, 1),
        ]

    def flops(self, batch_size: int) -> float:
        """Return the floating point operations of the matrix products in one update.

        Two for each weight and use: forward, for the gradient of the weights, and, but in the first layer, for that of
        the inputs.
        """
        uses = [weights * count for weights, count in self.layers()]
        return 2.0 * batch_size * (3 * sum(uses) - uses[0])

    def traffic(self) -> float:
        """Return the bytes that an update moves at least: weights are read forward, read once more, and written."""
        return 3.0 * BYTES * sum(weights for weights, _ in self.layers())


WORKLOADS = {
    one.name: one
    for one in (
        Workload("mlp_digits", "MLP 64-128-10", 1024, (1, 8, 32, 128, 1024), (64, 128, 10)),
        Workload("mlp_mnist", "MLP 784-128-10", 8192, (1, 32, 128, 1024), (784, 128, 10)),
        Workload(
            "mlp_batchnorm", "MLP 784-512-512-10, BatchNorm", 8192, (32, 128), (784, 512, 512, 10), batch_norm=True
        ),
        Workload("cnn_small", "CNN 16-32, 28 x 28", 512, (1, 32)),
    )
}


def blocks(examples: int, batch_size: int, length: int, seed: int = 0) -> Iterator[NDArray[np.int32]]:
    """Yield the indices of `length` steps at a time, (step, example), for ever.

    Each epoch has a fresh order; its incomplete last batch is dropped.
    """
    draw = np.random.default_rng(seed)
    whole = examples - examples % batch_size
    rest = np.empty((0, batch_size), np.int32)
    while True:
        parts = [rest]
        while sum(map(len, parts)) < length:
            parts.append(draw.permutation(examples)[:whole].astype(np.int32).reshape(-1, batch_size))
        joined = np.concatenate(parts)
        yield joined[:length]
        rest = joined[length:]
