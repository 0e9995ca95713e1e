"""A model, its optimizer and its data, set up to take single steps."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import final

import torch
from torch import nn

from ..data import Examples
from ..noise import has_batch_norm
from ..plan import Run
from ..randomness import generator, seed_of
from ..task import Task

# What `critbatch.engine.sequential.take_step` is. It comes as an argument: what is probed is then the step that trains,
# and this folder need not know the engine.
TakeStep = Callable[[Task, Run, nn.Module, torch.optim.Optimizer, Examples, float, int], tuple[float, int]]

# So low that the model stays where it is: a diverging one would be timed on infinities. Steps cost the same at any rate.
LEARNING_RATE = 2.0**-20
SYNCHRONISE = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}


@final
class Bench:
    """One model on one device, ready to be trained by single steps of any batch size.

    Args:
        task: What is trained.
        run: Its optimizer, dtype and seed are used; its batch size, learning rate and budget are not.
        take_step: One full step: forward, loss, backward, update. `critbatch.engine.sequential.take_step`.
        device: Where to.
    """

    def __init__(self, task: Task, run: Run, take_step: TakeStep, device: torch.device) -> None:
        self.task, self.run, self.take_step, self.device = task, run, take_step, device
        dtype = getattr(torch, run.dtype)
        self.data = task.train.epoch(run.seed, 0).to(device, dtype)
        self.model = task.initialise(run.seed).to(device, dtype).train()
        self.optimizer = run.optimizer.build(self.model.parameters(), LEARNING_RATE)

    def batch(self, size: int) -> Examples:
        """Return `size` training examples drawn without replacement, the same ones each time."""
        order = torch.randperm(len(self.data), generator=generator(self.run.seed, "hardware batch"))
        chosen = order[:size].to(self.device)
        return Examples(self.data.inputs.index_select(0, chosen), self.data.targets.index_select(0, chosen))

    def step(self, batch: Examples, micro_batch_size: int) -> tuple[float, int]:
        """Take one step; return its seconds, until the device has finished, and the micro-batch size that fitted."""
        run = dataclasses.replace(
            self.run, batch_size=len(batch), micro_batch_size=micro_batch_size, learning_rate=LEARNING_RATE
        )
        self.synchronise()
        started = time.perf_counter()
        _, fitted = self.take_step(self.task, run, self.model, self.optimizer, batch, 1.0, micro_batch_size)
        self.synchronise()
        return time.perf_counter() - started, fitted

    def synchronise(self) -> None:
        """Wait until the device has done all it was asked to."""
        if self.device.type in SYNCHRONISE:
            SYNCHRONISE[self.device.type]()


def smallest_size(model: nn.Module) -> int:
    """Return the fewest examples that the model can be trained on: BatchNorm needs 2 for a variance."""
    return 2 if has_batch_norm(model) else 1


@contextlib.contextmanager
def settled(device: torch.device, *, threads: int, seed: int) -> Iterator[None]:
    """Use `threads` threads and random layers' draws from a stream of `seed`; put both back afterwards.

    Raises:
        ValueError: If there is not at least one thread.
    """
    if threads < 1:
        raise ValueError(f"`threads={threads}`: must be at least 1.")
    before = torch.get_num_threads()
    devices = [device] if device.type == "cuda" else []
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=devices):
            for stream in (
                torch.default_generator,
                *(torch.cuda.default_generators[one.index or 0] for one in devices),
            ):
                stream.manual_seed(seed_of(seed, "hardware forward"))
            yield
    finally:
        torch.set_num_threads(before)
