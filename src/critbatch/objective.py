"""Losses and metrics: always one value per example, never reduced, so that no mean-or-sum question can arise."""

from collections.abc import Callable, Sequence
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
    chosen = outputs.argmax(-1)
    return _per_example((chosen == targets.reshape(chosen.shape)).to(outputs.dtype))


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


def misfit(outputs: Tensor, targets: Tensor, used: Sequence[PerExample]) -> str:
    """Return why `targets` cannot be used with `outputs` and what to do, or an empty text if nothing is wrong.

    Only what would otherwise pass unseen or end in a message of torch that does not help.

    Args:
        outputs: What the model returned for a few examples.
        targets: All targets of the set.
        used: The loss and the metric.
    """
    if binary_cross_entropy in used or correct_binary in used:
        low, high = float(targets.min()), float(targets.max())
        if low < 0 or high > 1:
            return (
                f"targets run from {low:g} to {high:g}, but must lie in [0, 1]. Use 0 and 1, or loss='cross_entropy'."
            )
    if not (cross_entropy in used or correct in used):
        return ""
    one_each, given = tuple(outputs.shape[1:-1]), tuple(targets.shape[1:])
    if outputs.ndim < 2 or targets.is_floating_point() or one_each != given:
        need = "cross-entropy" if cross_entropy in used else "metric 'accuracy'"
        other = "loss='squared_error', metric='squared_error'" if cross_entropy in used else "metric=None"
        return (
            f"{need} needs outputs of shape (example, ..., class) and integer class labels of shape (example, ...). "
            f"The outputs have shape {('example', *outputs.shape[1:])}, the targets are {targets.dtype} of shape "
            f"{('example', *given)}. Convert the targets to class indices, or use {other}."
        )
    low, high, classes = int(targets.min()), int(targets.max()), outputs.shape[-1]
    if cross_entropy in used and (low < 0 or high >= classes):
        return (
            f"labels run from {low} to {high}, but the model has {classes} outputs: labels must be 0 to {classes - 1}. "
            "Renumber the labels or widen the last layer."
        )
    return ""
