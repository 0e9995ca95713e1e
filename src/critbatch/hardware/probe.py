"""What one device makes of one task: step times, their fit, and accumulation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch

from ..plan import Run, describe
from ..task import Task
from .accumulation import Accumulation, compare_accumulation
from .bench import Bench, TakeStep, settled, smallest_size
from .memory import Memory
from .step_time import StepTimeFit, fit_step_time
from .timing import TimedSize, time_steps

MOST_SECONDS = 1.0  # of a step, by default


@final
@dataclass(frozen=True)
class Probe:
    """Step time against batch size on one device.

    Attributes:
        task: Its name.
        device: As torch spells it.
        dtype: Of parameters and data.
        optimizer: As JSON types.
        threads: Of torch on the CPU.
        sizes: One entry for each batch size timed, smallest first.
        left_out: Why larger sizes were not timed, or None.
        step_time: What was fitted to `sizes`.
        accumulation: The largest size in micro-batches, or None where it cannot be split.
        memory: Filled in by whoever runs `memory_ceiling`.
    """

    task: str
    device: str
    dtype: str
    optimizer: dict[str, Any]
    threads: int
    sizes: tuple[TimedSize, ...]
    left_out: str | None
    step_time: StepTimeFit
    accumulation: Accumulation | None
    memory: Memory | None = None


def probe(  # noqa: PLR0913
    task: Task, run: Run, *, take_step: TakeStep, batch_sizes: Sequence[int] = (), device: str = "cpu",
    threads: int = 1, repeats: int = 20, pieces: int = 4,
) -> Probe:  # fmt: skip
    """Return how long full training steps take on this device, for each batch size.

    Gathering a batch is not part of a step here: forward, loss, backward and update are. The parameters hardly move.

    Args:
        task: What is trained.
        run: Any run of the task: its optimizer, dtype and seed are used.
        take_step: The step to be timed: `critbatch.engine.sequential.take_step`.
        batch_sizes: The default is 1, 2, 4, ... and the whole training set, up to the first that takes over a second.
        device: As torch spells it.
        threads: Of torch on the CPU; one, as worker processes have, unless asked.
        repeats: Timed steps of each size, at least 10.
        pieces: Micro-batches into which the largest size is split to compare accumulation.

    Raises:
        ValueError: If a batch size is below 1, above the training set, or 1 for a model with BatchNorm.
    """
    place = torch.device(device)
    with settled(place, threads=threads, seed=run.seed):
        bench = Bench(task, run, take_step, place)
        fewest = smallest_size(bench.model)
        sizes = checked_sizes(batch_sizes, fewest, len(task.train))
        limit = float("inf") if batch_sizes else MOST_SECONDS
        rows, left_out = time_steps(bench, sizes, repeats=repeats, most_seconds=limit)
        largest = max((row.batch_size for row in rows), default=0)
        micro = largest // pieces
        accumulation = None
        if fewest <= micro < largest:
            accumulation = compare_accumulation(bench, micro * pieces, micro, repeats=repeats)
    fit = fit_step_time(
        np.array([row.batch_size for row in rows], dtype=int),
        np.array([row.repeats for row in rows], dtype=float).reshape(len(rows), repeats),
    )
    return Probe(
        task.name, device, run.dtype, describe(run.optimizer), threads, rows, left_out, fit, accumulation
    )  # fmt: skip


def checked_sizes(batch_sizes: Sequence[int], fewest: int, train_size: int) -> list[int]:
    """Return the batch sizes in rising order, each once; the default where none are given.

    Raises:
        ValueError: If one is below `fewest` or above the training set.
    """
    if not batch_sizes:
        powers = [2**power for power in range(train_size.bit_length())]
        return sorted({size for size in (*powers, train_size) if fewest <= size <= train_size})
    sizes = sorted(set(batch_sizes))
    if sizes[0] < fewest or sizes[-1] > train_size:
        wrong = sizes[0] if sizes[0] < fewest else sizes[-1]
        raise ValueError(
            f"`probe(batch_sizes=...)`: {wrong} cannot be trained: use {fewest} to {train_size}"
            + (" (BatchNorm needs 2)." if wrong == 1 else ", the training set's size.")
        )
    return sizes
