"""How a loss was reduced, read from the graph that made it."""

from typing import Any

from torch import Tensor

_SUM = 2  # in ATen's Reduction


def summed(loss: Tensor) -> bool | None:
    """Return whether a loss is a sum over examples: False for a mean, None if its graph does not say.

    Factors and additions on top of it (division by accumulation steps, scaling, penalties) are looked through.
    """
    node: Any = loss.grad_fn
    for _ in range(20):
        if node is None:
            return None
        kept = getattr(node, "_saved_reduction", None)
        if kept is not None:
            return {0: None, 1: False, _SUM: True}.get(int(kept))
        name = node.name()
        if name.startswith("SumBackward"):
            return True
        if name.startswith("MeanBackward"):
            return False
        if not name.startswith(("MulBackward", "DivBackward", "AddBackward", "ToCopyBackward", "CloneBackward")):
            return None
        if name.startswith("DivBackward") and getattr(node, "_saved_self", None) is not None:
            return None  # divided by a tensor that has a gradient
        node = next((below for below, _ in node.next_functions if below is not None), None)
    return None
