"""What will be trained: a finite list of runs, each named by a hash of everything that can change its numbers."""

import dataclasses
import enum
import functools
import hashlib
import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex, final

import polars as pl

from .budget import Budget
from .measurement import Measurement
from .optimizer import Optimizer
from .record import Ending
from .sampling import Sampling
from .schedule import Schedule
from .task import Target, Task


def describe(value: Any) -> Any:
    """Return a frozen dataclass as JSON types, class name included; equal numbers look alike (20 and 20.0).

    Raises:
        TypeError: If a field holds anything else, which could not be hashed the same way twice.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: describe(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"kind": type(value).__name__, **fields}
    if isinstance(value, (tuple, list)):
        return [describe(part) for part in value]
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if not isinstance(value, (int, float)):
        raise TypeError(
            f"A run cannot hold a {type(value).__name__}: {value!r}. Use numbers, texts and frozen dataclasses."
        )
    if float(value).is_integer() and abs(value) < 2**53:
        return int(value)
    return float(value)


@final
@dataclass(frozen=True)
class Run:
    """One training. `id` is a hash of all fields: runs with the same id have the same numbers.

    With a `target` the run ends at the target; without, it spends its whole budget.
    """

    task: str
    revision: str
    batch_size: int
    learning_rate: float
    seed: int
    optimizer: Optimizer
    schedule: Schedule
    sampling: Sampling
    budget: Budget
    micro_batch_size: int
    target: Target | None = None
    measurements: tuple[Measurement, ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if not 1 <= self.micro_batch_size <= self.batch_size:
            raise ValueError(
                f"`Run(batch_size={self.batch_size}, micro_batch_size={self.micro_batch_size})`: the micro-batch size "
                f"must be between 1 and the batch size. Use {max(self.batch_size, 1)} for no accumulation."
            )
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"`Run(learning_rate={self.learning_rate})`: must be above 0 and finite.")

    @functools.cached_property
    def id(self) -> str:
        """Return 16 hexadecimal digits that name this run."""
        text = json.dumps(describe(self), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def row(self) -> dict[str, Any]:
        """Return the run's columns of the run table; objects as JSON text."""
        described = {key: value for key, value in describe(self).items() if key != "kind"}
        texts = {
            key: json.dumps(value, sort_keys=True) if isinstance(value, (dict, list)) else value
            for key, value in described.items()
        }
        return {"run": self.id, **texts, "learning_rate": float(self.learning_rate)}


@final
@dataclass(frozen=True)
class RunResult:
    """A run, how it ended, how far it came, and its records (a table with `RECORD_SCHEMA`).

    `seconds` is training time; `note` holds the traceback of a failed run and remarks on others.
    """

    run: Run
    ending: Ending
    steps: int
    examples: int
    seconds: float
    records: pl.DataFrame
    note: str = ""


@final
@dataclass(frozen=True)
class Plan:
    """A finite list of runs without repetition."""

    runs: tuple[Run, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", tuple({run.id: run for run in self.runs}.values()))

    def __len__(self) -> int:
        return len(self.runs)

    def __add__(self, other: "Plan") -> "Plan":
        return Plan(self.runs + other.runs)


Rates = Sequence[float] | Mapping[int, Sequence[float]] | Callable[[int], Sequence[float]]


def sweep(  # noqa: PLR0913
    task: Task, *, batch_sizes: Iterable[SupportsIndex], learning_rates: Rates, seeds: Iterable[SupportsIndex], optimizer: Optimizer,
    schedule: Schedule, sampling: Sampling, budget: Budget, target: Target | None = None,
    measurements: Sequence[Measurement] = (), micro_batch_size: int | None = None, dtype: str = "float32",
) -> Plan:  # fmt: skip
    """Return the grid of runs: batch sizes x learning rates x seeds.

    Runs of one seed share initialisation and base order across the grid, so that batch sizes can be compared in pairs.

    Args:
        task: What to train.
        batch_sizes: Examples per step, each at most the training set's size.
        learning_rates: One list for all batch sizes, or a list for each (a mapping or a function of the batch size).
        seeds: Non-negative integers.
        optimizer: Update rule.
        schedule: Of the learning rate.
        sampling: Of the examples.
        budget: How long each run trains.
        target: If given, runs end when they reach it.
        measurements: What to measure besides losses and metrics.
        micro_batch_size: Examples per forward pass; the batch size where that is smaller. None: no accumulation.
        dtype: "float32" or "float64".

    Raises:
        ValueError: If a list is empty, or a batch size is larger than the training set.
    """
    sizes, numbers = (sorted({operator.index(one) for one in given}) for given in (batch_sizes, seeds))
    if micro_batch_size is not None and micro_batch_size < 1:
        raise ValueError(
            f"`sweep(micro_batch_size={micro_batch_size})`: must be at least 1, or None for whole batches."
        )
    if not sizes or not numbers:
        raise ValueError(f"`sweep` needs a batch size and a seed, got batch sizes {sizes} and seeds {numbers}.")
    for size in sizes:
        if not 1 <= size <= len(task.train):
            raise ValueError(
                f"`sweep(batch_sizes=...)`: batch size {size} does not fit the {len(task.train)} training examples of "
                f"task {task.name!r}. Use 1 to {len(task.train)}."
            )
    runs = [
        Run(
            task=task.name, revision=task.revision, batch_size=size, learning_rate=rate, seed=seed, optimizer=optimizer,
            schedule=schedule, sampling=sampling, budget=budget, target=target, measurements=tuple(measurements),
            micro_batch_size=min(micro_batch_size or size, size), dtype=dtype,
        )
        for size in sizes
        for rate in map(float, _rates_at(learning_rates, size))
        for seed in numbers
    ]  # fmt: skip
    if not runs:
        raise ValueError("`sweep(learning_rates=...)`: no learning rate given. Give at least one.")
    return Plan(tuple(runs))


def _rates_at(learning_rates: Rates, batch_size: int) -> Sequence[float]:
    if callable(learning_rates):
        return learning_rates(batch_size)
    return learning_rates[batch_size] if isinstance(learning_rates, Mapping) else learning_rates
