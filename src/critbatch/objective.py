"""Losses and metrics: always one value per example, never reduced, so that no mean-or-sum question can arise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

PerExample = Callable[[Tensor, Tensor], Tensor]
Direction = Literal["above", "below"]


def _per_example(values: Tensor) -> Float[Tensor, " example"]:
    return values if values.ndim == 1 else values.flatten(1).mean(1)


def cross_entropy(outputs: Tensor, targets: Tensor) -> Float[Tensor, " example"]:
    """Return the cross-entropy of each example in nats; a sequence counts as one example, its tokens averaged.

    Args:
        outputs: Logits, (example, class), or (example, position, class) for sequences.
        targets: Class indices, (example,) or (example, position).
    """
    classes_second = outputs.movedim(-1, 1) if outputs.ndim > 2 else outputs
    return _per_example(functional.cross_entropy(classes_second, targets, reduction="none"))


def squared_error(outputs: Tensor, targets: Tensor) -> Float[Tensor, " example"]:
    """Return half the squared error of each example, averaged over its outputs (units of the target, squared)."""
    return _per_example((outputs - targets.reshape(outputs.shape)).square() / 2)


def binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Float[Tensor, " example"]:
    """Return the logistic loss of each example in nats, from logits and targets in [0, 1]."""
    labels = targets.reshape(outputs.shape).to(outputs.dtype)
    return _per_example(functional.binary_cross_entropy_with_logits(outputs, labels, reduction="none"))


def correct(outputs: Tensor, targets: Tensor) -> Float[Tensor, " example"]:
    """Return 1 where the largest logit is the target's, else 0; averaged over the positions of a sequence."""
    return _per_example((outputs.argmax(-1) == targets).to(outputs.dtype))


def correct_binary(outputs: Tensor, targets: Tensor) -> Float[Tensor, " example"]:
    """Return 1 where the logit's sign agrees with a 0/1 target, else 0."""
    return _per_example(((outputs > 0) == (targets.reshape(outputs.shape) > 0.5)).to(outputs.dtype))


@final
@dataclass(frozen=True)
class Metric:
    """A quantity averaged over examples, and which way is better: "above" (accuracy) or "below" (error)."""

    name: str
    values: PerExample
    better: Direction


LOSSES: dict[str, PerExample] = {
    "cross_entropy": cross_entropy,
    "squared_error": squared_error,
    "binary_cross_entropy": binary_cross_entropy,
}
METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", correct, "above"),
    "binary_accuracy": Metric("accuracy", correct_binary, "above"),
    "squared_error": Metric("squared_error", squared_error, "below"),
}
