"""Seconds of a full training step against the batch size, with batches as tensors and example by example."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from ..measurement import Measurement, Snapshot
from ..noise import has_batch_norm

# So low that the copy stays where it is: a diverging one would be timed on infinities. Steps cost the same at any rate.
LEARNING_RATE = 2.0**-20
WARM_UP = 2  # steps before the timed ones; the last of them decides whether larger sizes are worth it

Action = Callable[[], None]


@final
@dataclass(frozen=True)
class StepTime(Measurement):
    """Median seconds of a plain training step: forward, loss, backward, update by SGD, in ordinary PyTorch.

    Recorded for each batch size, in seconds per step: `step_seconds[B=16]`, the batch as one tensor, so that kernels
    work on all examples at once; and `looped_step_seconds[B=16]`, where each example goes forward and backward by
    itself and the gradients are added up before the one update, as on a machine without vectorised kernels.

    Every size is warmed up. Then in each round each size has one turn, in an order drawn anew, so that a load that comes
    and goes is spread over all of them: an untimed step, which fills the caches with this size's numbers, and a timed
    one. A size whose step takes longer than `most_seconds`, and all larger ones of its kind, have no value (NaN).
    Models with BatchNorm have none for single examples. Gathering a batch is not part of a step. Where a size exceeds
    the training set, examples are used several times.

    The times are those of the machine as it is at that moment, with the threads that torch has; no two are the same.
    Steps are taken by a copy of the model whose parameters hardly move. Taken at as few looks as can be: once a decade.

    Attributes:
        batch_sizes: Of whole batches, ascending.
        looped: Of batches that are gone through example by example, ascending.
        rounds: Timed steps of each size.
        most_seconds: Of a step.
    """

    batch_sizes: tuple[int, ...] = (1, 4, 16, 64)
    looped: tuple[int, ...] = (1, 4, 16)
    rounds: int = 15
    most_seconds: float = 0.25

    def __post_init__(self) -> None:
        sizes = (*self.batch_sizes, *self.looped)
        ascending = all(list(one) == sorted(set(one)) for one in (self.batch_sizes, self.looped))
        if not sizes or min(sizes) < 1 or not ascending or self.rounds < 1:
            raise ValueError(
                f"`StepTime(batch_sizes={self.batch_sizes}, looped={self.looped}, rounds={self.rounds})`: give batch "
                "sizes of at least 1 in rising order, and at least one round."
            )

    @property
    @override
    def looks_per_decade(self) -> int:
        return 1

    @property
    @override
    def quantities(self) -> Mapping[str, str]:
        names = [self.whole(size) for size in self.batch_sizes] + [self.single(size) for size in self.looped]
        return dict.fromkeys(names, "seconds")

    def whole(self, batch_size: int) -> str:
        """Return the name of the time of a step with the batch as one tensor."""
        return f"step_seconds[B={batch_size}]"

    def single(self, batch_size: int) -> str:
        """Return the name of the time of a step that goes through the batch example by example."""
        return f"looped_step_seconds[B={batch_size}]"

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        rates = {"lr": LEARNING_RATE, "weight_decay": snapshot.task.l2}
        optimizer = torch.optim.SGD([one for one in snapshot.model.parameters() if one.requires_grad], **rates)
        coupled = has_batch_norm(snapshot.model)
        actions: dict[str, Action] = {}
        for names, sizes, pieces in ((self.whole, self.batch_sizes, None), (self.single, self.looped, 1)):
            for size in sizes:
                if coupled and (pieces or size) == 1:
                    continue
                action = _action(snapshot, optimizer, size, pieces or size)
                last = min(_seconds(action, snapshot.inputs.device) for _ in range(WARM_UP))
                if last > self.most_seconds:
                    break
                actions[names(size)] = action
        medians = self._medians(actions, snapshot)
        return {name: medians.get(name, math.nan) for name in self.quantities}

    def _medians(self, actions: Mapping[str, Action], snapshot: Snapshot) -> dict[str, float]:
        names, times = list(actions), {name: [] for name in actions}
        for _ in range(self.rounds):
            for place in torch.randperm(len(names), generator=snapshot.generator).tolist():
                action = actions[names[place]]
                action()
                times[names[place]].append(_seconds(action, snapshot.inputs.device))
        return {name: statistics.median(found) for name, found in times.items()}


def _action(snapshot: Snapshot, optimizer: torch.optim.Optimizer, size: int, piece: int) -> Action:
    """Return a step on the first `size` examples, `piece` of which go forward and backward at a time."""
    chosen = torch.arange(size, device=snapshot.inputs.device) % len(snapshot.inputs)
    inputs, targets = snapshot.inputs[chosen], snapshot.targets[chosen]
    losses: Callable[[Tensor, Tensor], Tensor] = snapshot.task.losses
    model: nn.Module = snapshot.model

    def step() -> None:
        optimizer.zero_grad()
        for some_inputs, some_targets in zip(inputs.split(piece), targets.split(piece), strict=True):
            (losses(model(some_inputs), some_targets).sum() / size).backward()
        optimizer.step()

    return step


def _seconds(action: Action, device: torch.device) -> float:
    _wait(device)
    started = time.perf_counter()
    action()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    """Wait until the device has done all it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
