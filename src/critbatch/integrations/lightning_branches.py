"""Lightning 2: branches from a checkpoint of its Trainer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..branching import BranchLoop, Indexed

try:
    import lightning as _lightning  # noqa: F401
except ImportError as error:
    raise ImportError("Lightning is not installed. Run: pip install 'critbatch[lightning]'") from error


def lightning_branches(
    module: Any, checkpoint: str | Path, *, losses: Callable[[nn.Module, Any], Tensor], train: Indexed,
    evaluation: Indexed, **options: Any,
) -> BranchLoop:  # fmt: skip
    """Return a training that `branch` can branch, from a LightningModule and a file that its Trainer wrote.

    The optimizer is what `configure_optimizers` returns, in the state of the file; its schedule stays where it was.

    Args:
        module: A LightningModule with one optimizer.
        checkpoint: A .ckpt file.
        losses: Returns one loss for each example, given the module and a batch.
        train: Dataset of the training.
        evaluation: Dataset that all branches are compared on.
        **options: Of `BranchLoop`.

    Raises:
        ValueError: If the file cannot be read without running code from it, does not fit, or there are several optimizers.
    """
    try:
        found = torch.load(checkpoint, map_location="cpu", weights_only=True)
        states, model = found["optimizer_states"], found["state_dict"]
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"`lightning_branches(checkpoint={str(checkpoint)!r})`: could not be read: {reason}"
        ) from error
    made = module.configure_optimizers()
    if isinstance(made, dict):
        made = made["optimizer"]
    if isinstance(made, tuple) and len(made) == 2:
        made = made[0]
    optimizers = list(made) if isinstance(made, list | tuple) else [made]
    if len(optimizers) != 1 or len(states) != 1:
        raise ValueError(
            f"`lightning_branches(module)`: needs one optimizer, the module makes {len(optimizers)}, the file has {len(states)}."
        )
    return BranchLoop(
        module, optimizers[0], losses=losses, train=train, evaluation=evaluation,
        checkpoint={"model": model, "optimizer": states[0]}, **options,
    )  # fmt: skip
