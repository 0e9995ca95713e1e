"""SGD on a network with one hidden layer, in numpy: its steps are too small for anything else to be fast."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import numpy as np


@final
@dataclass(frozen=True, eq=False)
class TwoLayer:
    """Softmax of a linear function of rectified units, with cross-entropy and the penalty l2/2 |parameters|^2.

    Parameters are one vector: hidden weights (unit, input), hidden biases, output weights (class, unit), output biases.

    Attributes:
        inputs: Shape (example, input).
        targets: Shape (example,), classes from 0.
        hidden: Units.
        classes: Outputs.
        l2: Strength of the penalty.
    """

    inputs: np.ndarray
    targets: np.ndarray
    hidden: int
    classes: int
    l2: float = 0.0

    @property
    def size(self) -> int:
        """Return the number of parameters."""
        return self.hidden * (self.inputs.shape[1] + 1) + self.classes * (self.hidden + 1)

    def gradient(self, parameters: np.ndarray, chosen: np.ndarray | slice) -> np.ndarray:
        """Return the gradient of the mean loss of some examples with the penalty, shape (parameter,)."""
        inputs, units, back, errors = self._passes(parameters, chosen)
        found = np.concatenate([
            (back.T @ inputs).ravel(), back.sum(0), (errors.T @ units).ravel(), errors.sum(0),
        ])  # fmt: skip
        found /= len(inputs)
        found += self.l2 * parameters
        return found

    def noise_trace(self, parameters: np.ndarray) -> float:
        """Return the trace of the covariance of the examples' gradients, with divisor N."""
        inputs, units, back, errors = self._passes(parameters, slice(None))
        squares = ((inputs**2).sum(1) + 1) * (back**2).sum(1) + ((units**2).sum(1) + 1) * (errors**2).sum(1)
        mean = self.gradient(parameters, slice(None)) - self.l2 * parameters
        return float(squares.mean() - mean @ mean)

    def _passes(
        self, parameters: np.ndarray, chosen: np.ndarray | slice
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
        """Return inputs, units, and the loss's derivatives by the units' inputs and by the outputs, example by example."""
        inputs, targets = self.inputs[chosen], self.targets[chosen]
        ends = np.cumsum([self.hidden * inputs.shape[1], self.hidden, self.classes * self.hidden])
        first, shift, second, bias = np.split(parameters, ends)
        first, second = first.reshape(self.hidden, -1), second.reshape(self.classes, -1)
        units = np.maximum(inputs @ first.T + shift, 0)
        outputs = units @ second.T + bias
        outputs -= outputs.max(1, keepdims=True)
        np.exp(outputs, out=outputs)
        outputs /= outputs.sum(1, keepdims=True)
        outputs[np.arange(len(targets)), targets] -= 1
        return inputs, units, (outputs @ second) * (units > 0), outputs


Epoch = Callable[[np.ndarray], Iterator[np.ndarray]]


def shuffled(network: TwoLayer, batch_size: int, generator: np.random.Generator) -> Epoch:
    """Return gradients of an epoch in a new order; a last batch that is not whole is left out."""

    def epoch(parameters: np.ndarray) -> Iterator[np.ndarray]:
        order = generator.permutation(len(network.inputs))
        for start in range(0, len(order) - batch_size + 1, batch_size):
            yield network.gradient(parameters, order[start : start + batch_size])

    return epoch


def replaced(network: TwoLayer, batch_size: int, generator: np.random.Generator) -> Epoch:
    """Return gradients of as many batches as in an epoch, every example drawn by itself."""

    def epoch(parameters: np.ndarray) -> Iterator[np.ndarray]:
        for chosen in generator.integers(len(network.inputs), size=(len(network.inputs) // batch_size, batch_size)):
            yield network.gradient(parameters, chosen)

    return epoch


def isotropic(network: TwoLayer, batch_size: int, generator: np.random.Generator) -> Epoch:
    """Return gradients of all examples with Gaussian noise alike in all directions: the third null of a current.

    Its trace is that of a batch drawn with replacement, taken anew at the beginning of each epoch.

    Source: Chaudhari and Soatto (2017), arXiv:1710.11029, Lemma 6: such noise makes no current.
    """

    def epoch(parameters: np.ndarray) -> Iterator[np.ndarray]:
        scale = (max(network.noise_trace(parameters), 0) / batch_size / network.size) ** 0.5
        for noise in generator.standard_normal((len(network.inputs) // batch_size, network.size)):
            yield network.gradient(parameters, slice(None)) + scale * noise

    return epoch


def follow(start: np.ndarray, gradients: Epoch, *, learning_rate: float, epochs: int) -> np.ndarray:
    """Return the parameters after each epoch of plain steps at a constant rate, shape (epoch, parameter).

    Args:
        start: Shape (parameter,).
        gradients: Yields the gradients of one epoch at the parameters that it is given, which steps change in place.
        learning_rate: Constant.
        epochs: How many.
    """
    parameters = np.array(start, dtype=float)
    found = np.empty((epochs, len(parameters)))
    for row in found:
        for gradient in gradients(parameters):
            parameters -= learning_rate * gradient
        row[:] = parameters
    return found
