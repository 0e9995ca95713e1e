"""Transformers 5: branches from a checkpoint folder of its Trainer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..branching import BranchLoop

try:
    from safetensors.torch import load_file
    from transformers import Trainer
except ImportError as error:
    raise ImportError("Transformers is not installed. Run: pip install 'critbatch[transformers]'") from error


def transformers_branches(
    trainer: Trainer, checkpoint: str | Path, *, losses: Callable[[nn.Module, Any], Tensor], **options: Any
) -> BranchLoop:
    """Return a training that `branch` can branch, from a Trainer and a folder checkpoint-N that it wrote.

    Data, collator, model and optimizer are the Trainer's; model and optimizer are put into the folder's state.

    Args:
        trainer: With training and evaluation data.
        checkpoint: Folder with model.safetensors and optimizer.pt.
        losses: Returns one loss for each example, given the model and a batch.
        **options: Of `BranchLoop`.

    Raises:
        ValueError: If the folder lacks one of the files, they do not fit, or the Trainer has no data.
    """
    folder = Path(checkpoint)
    missing = [name for name in ("model.safetensors", "optimizer.pt") if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"`transformers_branches(checkpoint={str(checkpoint)!r})`: has no {' and no '.join(missing)}.")
    train: Any = trainer.train_dataset
    evaluation: Any = trainer.eval_dataset
    if train is None or evaluation is None:
        raise ValueError("`transformers_branches(trainer)`: needs a Trainer with train_dataset and eval_dataset.")
    model: Any = trainer.model
    optimizer = trainer.create_optimizer()
    state = load_file(folder / "model.safetensors")
    shared = {
        name: one for name, one in model.state_dict().items() if name not in state
    }  # tied weights are stored once
    return BranchLoop(
        model, optimizer, losses=losses, train=train, evaluation=evaluation, collate=trainer.data_collator,
        checkpoint={
            "model": state | shared,
            "optimizer": torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True),
        }, **options,
    )  # fmt: skip
