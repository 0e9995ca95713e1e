"""A measurement by itself, on anybody's model and data: `critbatch.measure(...)`."""

import copy
from typing import Any

import torch
from torch import nn

from .data import Stream
from .keras_model import as_module
from .measurement import Measurement, Snapshot
from .objective import PerExample
from .randomness import generator
from .task import Task


def measure(  # noqa: PLR0913
    measurement: Measurement, model: nn.Module, data: Any, *, loss: str | PerExample = "cross_entropy",
    start: nn.Module | None = None, l2: float = 0.0, batch_size: int = 32, learning_rate: float = 0.1, seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """Return what a measurement reads of a model as it is now. The model is copied, and left as it was.

    Args:
        measurement: One of `critbatch.measurements`; `critbatch measurements` lists them.
        model: Trained or not.
        data: Inputs and targets, first axis the example; see `critbatch.data.examples`.
        loss: A name (cross_entropy, squared_error, binary_cross_entropy) or a function of outputs and targets that
            returns one value per example.
        start: The model that training began with, for measurements of the way from there; the default is `model`.
        l2: Strength of the penalty l2/2 |parameters|^2 that is part of the objective.
        batch_size: Of the training, for measurements that depend on it; at most the number of examples.
        learning_rate: The same.
        seed: Of what the measurement draws.

    Returns:
        A number for each of the measurement's `quantities`, which say the units; NaN where it cannot be had.

    Raises:
        ValueError: If model, data and loss do not fit together, or the batch size does not fit the data.
    """
    begun = model if start is None else start
    task = Task(
        name="measured", model=lambda: copy.deepcopy(begun), train=data, test=data, loss=loss, metric=None, l2=l2,
        revision="measured",
    )  # fmt: skip
    return measure_task(measurement, task, model=model, batch_size=batch_size, learning_rate=learning_rate, seed=seed)


def measure_task(
    measurement: Measurement, task: Task, *, model: nn.Module | None = None, batch_size: int = 32, learning_rate: float = 0.1,
    seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """Return what a measurement reads of a task's model; arguments as of `measure`.

    Args:
        measurement: What to take.
        task: Its training set is what is measured on; of a stream, one epoch of fresh examples.
        model: In its present state; the default is a new one of the task's.
        batch_size: Of the training.
        learning_rate: Of the training.
        seed: Of what is drawn, a new model among it.

    Raises:
        ValueError: If the batch size does not fit the data.
    """
    seen = task.train.epoch(seed, 0)
    if not 1 <= batch_size <= len(seen):
        raise ValueError(f"`measure(batch_size={batch_size})`: must be between 1 and the {len(seen)} examples.")
    now = task.initialise(seed) if model is None else as_module(copy.deepcopy(model))
    first = next(now.parameters())
    seen = seen.to(first.device, first.dtype)
    before = torch.random.get_rng_state()
    try:
        return measurement.measure(
            Snapshot(
                task=task, model=now, inputs=seen.inputs, targets=seen.targets,
                population=None if isinstance(task.train, Stream) else len(seen), batch_size=batch_size,
                learning_rate=learning_rate, generator=generator(seed, "measure"), seed=seed,
            )
        )  # fmt: skip
    finally:
        torch.random.set_rng_state(before)
