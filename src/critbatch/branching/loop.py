"""Branches of a plain PyTorch training."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset, default_collate

from ..randomness import generator, seed_of

CHUNK = 512


@runtime_checkable
class Indexed(Protocol):
    """Data with a length whose examples can be asked for by number."""

    def __len__(self) -> int:
        """Return the number of examples."""

    def __getitem__(self, index: int) -> Any:
        """Return one example."""


@final
class BranchLoop:
    """A model, its optimizer and its data, put back to a checkpoint as often as `branch` asks.

    Args:
        model: In the state of the checkpoint, if none is given.
        optimizer: Over its parameters; its learning rates are the checkpoint's.
        losses: Returns one loss for each example, given the model and a batch.
        train: A dataset; batches are its examples collated.
        evaluation: Likewise, the same for all branches.
        checkpoint: {"model": state, "optimizer": state}, or a file of that. None: model and optimizer as they are now.
        collate: Makes a batch of a list of examples.
        position: Numbers of the examples that are still to come in the epoch of the checkpoint. None: a new epoch begins.
        device: Where batches go.

    Raises:
        ValueError: If the checkpoint does not fit the model or the optimizer; neither is changed then.
    """

    def __init__(  # noqa: PLR0913
        self, model: nn.Module, optimizer: torch.optim.Optimizer, *, losses: Callable[[nn.Module, Any], Tensor],
        train: Indexed, evaluation: Indexed, checkpoint: Mapping[str, Any] | str | Path | None = None,
        collate: Callable[[list[Any]], Any] = default_collate, position: Sequence[int] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:  # fmt: skip
        self.model, self.optimizer, self.losses = model, optimizer, losses
        self.train, self.evaluation, self.collate = train, evaluation, collate
        self.position, self.device = position, torch.device(device)
        found = read_checkpoint(checkpoint) if checkpoint is not None else {
            "model": model.state_dict(), "optimizer": optimizer.state_dict(),
        }  # fmt: skip
        _check_model(model, found["model"])
        _check_optimizer(optimizer, found["optimizer"])
        self._kept = copy.deepcopy({key: found[key] for key in ("model", "optimizer")})
        self._rates: list[float] = []
        self._order: list[int] = []
        self._seed = self._epoch = 0
        self._random = torch.get_rng_state()

    def load(self, seed: int) -> None:
        """Go back to the checkpoint; `seed` fixes the order of data and what the model draws from there."""
        self.model.load_state_dict(self._kept["model"])
        self.optimizer.load_state_dict(copy.deepcopy(self._kept["optimizer"]))
        self._rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self._seed, self._epoch = seed, 0
        self._order = []
        if self.position is not None:
            rest = torch.randperm(len(self.position), generator=generator(seed, "branch rest")).tolist()
            self._order = [self.position[at] for at in rest]
        with torch.random.fork_rng():
            torch.default_generator.manual_seed(seed_of(seed, "branch forward"))
            self._random = torch.get_rng_state()

    def step(self, batch_size: int, factor: float) -> None:
        """Take one update on the next `batch_size` examples."""
        self.model.train()
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        batch = self._batch(self.train, self._next(batch_size))
        self.optimizer.zero_grad()
        with torch.random.fork_rng():
            torch.set_rng_state(self._random)
            self.losses(self.model, batch).mean().backward()
            self._random = torch.get_rng_state()
        self.optimizer.step()

    @torch.no_grad()
    def evaluate(self) -> np.ndarray:
        """Return the loss of every example of the evaluation set."""
        self.model.eval()
        numbers = range(len(self.evaluation))
        found = [
            self.losses(self.model, self._batch(self.evaluation, numbers[start : start + CHUNK])).cpu().double()
            for start in range(0, len(numbers), CHUNK)
        ]
        return torch.cat(found).numpy()

    def _next(self, count: int) -> list[int]:
        while len(self._order) < count:
            drawn = torch.randperm(len(self.train), generator=generator(self._seed, "branch order", self._epoch))
            self._order += drawn.tolist()
            self._epoch += 1
        taken, self._order = self._order[:count], self._order[count:]
        return taken

    def _batch(self, data: Indexed, numbers: Sequence[int]) -> Any:
        if isinstance(data, TensorDataset) and self.collate is default_collate:
            return _moved(data[list(numbers)], self.device)
        return _moved(self.collate([data[at] for at in numbers]), self.device)


def read_checkpoint(checkpoint: Mapping[str, Any] | str | Path) -> Mapping[str, Any]:
    """Return a checkpoint's content; a file is read without running code from it.

    Raises:
        ValueError: If it cannot be read, or lacks the model's or the optimizer's state.
    """
    found: Any = checkpoint
    if isinstance(checkpoint, str | Path):
        try:
            found = torch.load(checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"`BranchLoop(checkpoint={str(checkpoint)!r})`: could not be read: {reason}") from error
    if not isinstance(found, Mapping) or not {"model", "optimizer"} <= set(found):
        keys = sorted(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
        raise ValueError(f"`BranchLoop(checkpoint=...)`: needs the keys 'model' and 'optimizer', has {keys}.")
    return found


def _check_model(model: nn.Module, state: Mapping[str, Any]) -> None:
    own = {name: tuple(one.shape) for name, one in model.state_dict().items() if isinstance(one, Tensor)}
    there = {name: tuple(one.shape) for name, one in state.items() if isinstance(one, Tensor)}
    wrong = [f"{name} {own.get(name, 'is not in the model')} / {there.get(name, 'is not in the checkpoint')}"
             for name in sorted({*own, *there}) if own.get(name) != there.get(name)]  # fmt: skip
    if wrong:
        raise ValueError(f"`BranchLoop(checkpoint=...)`: does not fit the model: {'; '.join(wrong[:3])}.")


def _check_optimizer(optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    own = [len(group["params"]) for group in optimizer.param_groups]
    there = [len(group["params"]) for group in state.get("param_groups", [])]
    if own != there:
        raise ValueError(
            f"`BranchLoop(checkpoint=...)`: the optimizer has groups of {own} parameters, the checkpoint of {there}."
        )


def _moved(batch: Any, device: torch.device) -> Any:
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {key: _moved(part, device) for key, part in batch.items()}
    return type(batch)(_moved(part, device) for part in batch) if isinstance(batch, list | tuple) else batch
