"""How a loss was reduced, read from the graph that made it."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

_SUM = 2  # in ATen's Reduction


def summed(loss: Tensor) -> bool | None:
    """Return whether a loss is a sum over examples: False for a mean, None if its graph does not say.

    Factors and additions on top of it (division by accumulation steps, scaling, penalties) are looked through.
    """
    for node in _below(loss):
        kept = getattr(node, "_saved_reduction", None)
        if kept is not None:
            return {0: None, 1: False, _SUM: True}.get(int(kept))
        name = node.name()
        if name.startswith("SumBackward"):
            return True
        if name.startswith("MeanBackward"):
            return False
    return None


def counted(loss: Tensor) -> Tensor | None:
    """Return which targets of a cross entropy count, in the order that it was given them; None if there is none to see."""
    for node in _below(loss):
        targets = getattr(node, "_saved_target", None)
        if targets is not None and not targets.is_floating_point():
            return targets.ne(node._saved_ignore_index)
    return None


def _below(loss: Tensor) -> Iterator[Any]:
    """Yield the nodes of the graph through which a loss came to be, as long as they only scale it or add to it."""
    node: Any = loss.grad_fn
    for _ in range(20):
        if node is None:
            return
        yield node
        name = node.name()
        if not name.startswith(("MulBackward", "DivBackward", "AddBackward", "ToCopyBackward", "CloneBackward")):
            return
        if name.startswith("DivBackward") and getattr(node, "_saved_self", None) is not None:
            return  # divided by a tensor that has a gradient
        node = next((below for below, _ in node.next_functions if below is not None), None)
