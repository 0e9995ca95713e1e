"""Parameters that reach all examples by broadcasting: positional embeddings, class tokens, shifts.

Nothing with an axis for the example goes into them. But where they are added to, or expanded over, a batch, backward
passes a gradient by that has one: it is read there, on the way, in the graph of the forward pass.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_JOINS = ("AddBackward0", "SubBackward0", "ExpandBackward0")
_KEEPS_NORM = (
    "ViewBackward0", "ReshapeAliasBackward0", "UnsafeViewBackward0", "UnsqueezeBackward0", "SqueezeBackward0",
    "SqueezeBackward1", "SliceBackward0", "SelectBackward0", "TransposeBackward0", "PermuteBackward0", "TBackward0",
    "AliasBackward0", "CloneBackward0", "ToCopyBackward0",
)  # fmt: skip


def watch(outputs: Iterable[Tensor], wanted: dict[Any, Any], arrived: Callable[[Any, Tensor, bool], None]) -> list[Any]:
    """Read the gradient of each example where a wanted part of the graph is broadcast over the batch.

    Args:
        outputs: Of the model.
        wanted: What to call each wanted part, by its node in the graph: a parameter's, or that of a lookup's result.
        arrived: Called in backward with the name, the gradient (example first, else in the shape of the part as it was
            broadcast), and whether that is the part's own shape.

    Returns:
        Handles of the hooks, to be removed.
    """
    handles = []
    for node, place, name, is_same in _joins([one.grad_fn for one in outputs if one.grad_fn is not None], wanted):
        shape = tuple(node.next_functions[place][0]._input_metadata[0].shape)
        scale = getattr(node, "_saved_alpha", 1) if place == 1 else 1
        scale = -scale if place == 1 and node.name() == "SubBackward0" else scale

        def read(
            gradients: tuple[Tensor | None, ...], name: Any = name, shape: Any = shape, scale: Any = scale,
            is_same: bool = is_same,
        ) -> None:  # fmt: skip
            if gradients[0] is not None:
                with torch.no_grad():
                    arrived(name, _per_example(gradients[0], shape) * scale, is_same)

        handles.append(node.register_prehook(read))
    return handles


def _joins(roots: list[Any], wanted: dict[Any, Any]) -> Iterable[tuple[Any, int, Any, bool]]:
    """Yield where wanted parts are broadcast: the node, the place among its operands, the name, whether it is the part itself."""
    seen, waiting = set(roots), list(roots)
    while waiting:
        node = waiting.pop()
        for place, (below, _) in enumerate(node.next_functions):
            if below is None:
                continue
            if node.name() in _JOINS:
                name, is_same = _origin(below, wanted)
                if name is not None:
                    yield node, place, name, is_same
                    continue
            if below not in seen:
                seen.add(below)
                waiting.append(below)


def _origin(node: Any, wanted: dict[Any, Any]) -> tuple[Any, bool]:
    """Return the wanted part that a node is, or is a view of: views move numbers about and keep their norm."""
    is_same = True
    while node is not None:
        if node in wanted:
            return wanted[node], is_same
        if node.name() not in _KEEPS_NORM:
            return None, False
        is_same = False
        node = node.next_functions[0][0]
    return None, False


def _per_example(gradient: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the gradient of a broadcast operand of this shape, without summing over the examples.

    Raises:
        ValueError: If the operand has an axis for the example itself.
    """
    aligned = (1,) * (gradient.ndim - len(shape)) + shape
    extra = [axis for axis in range(1, gradient.ndim) if aligned[axis] == 1 and gradient.shape[axis] != 1]
    summed = gradient.sum(extra, keepdim=True) if extra else gradient
    if aligned[0] != 1:
        raise ValueError(f"an operand of shape {shape} is not broadcast over the first axis")
    return summed.reshape(len(gradient), *shape)
