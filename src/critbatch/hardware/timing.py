"""Seconds of a step against batch size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from scipy.special import bdtr

from ..estimate import Estimate
from ..randomness import generator
from .bench import Bench

FEWEST_REPEATS = 10
WARM_UP = 2  # untimed steps of each size after its first; and one before each timed step
DEFINITION = "seconds of one full training step: forward, loss, backward, update; warm-up excluded"


@final
@dataclass(frozen=True)
class TimedSize:
    """The step times of one batch size.

    Attributes:
        batch_size: Examples per step.
        seconds: Median time of a step.
        examples_per_second: Batch size over median.
        first_seconds: Of the first step at this size: kernels are chosen or compiled and memory is taken. Not in the
            median.
        repeats: Seconds of each timed step, in the order in which they were timed.
    """

    batch_size: int
    seconds: Estimate
    examples_per_second: float
    first_seconds: float
    repeats: tuple[float, ...]


def time_steps(
    bench: Bench, batch_sizes: Sequence[int], *, repeats: int, most_seconds: float
) -> tuple[tuple[TimedSize, ...], str | None]:
    """Return the step times of each batch size, and why larger ones were left out (None if all are there).

    First every size is warmed up, from small to large. Then in each of `repeats` rounds every size has one turn, in an
    order drawn anew: a load that comes and goes is spread over all sizes and does not look like an effect of the batch
    size. A turn is one untimed step, which fills the caches with this size's numbers, and one timed step.

    Args:
        bench: What takes the steps.
        batch_sizes: In rising order.
        repeats: Timed steps of each size.
        most_seconds: Sizes above the first one whose step takes longer are left out.

    Raises:
        ValueError: If there are fewer than 10 repeats.
    """
    if repeats < FEWEST_REPEATS:
        raise ValueError(f"`time_steps(repeats={repeats})`: a steady median needs at least {FEWEST_REPEATS}.")
    first, reason = _warm_up(bench, batch_sizes, most_seconds)
    sizes = list(first)
    batches = {size: bench.batch(size) for size in sizes}
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for index in range(repeats):
        for place in torch.randperm(len(sizes), generator=generator(bench.run.seed, "hardware rounds", index)).tolist():
            size = sizes[place]
            bench.step(batches[size], size)
            times[size].append(bench.step(batches[size], size)[0])
    return tuple(_timed(size, first[size], times[size]) for size in sizes), reason


def median_estimate(values: Sequence[float], *, unit: str, definition: str, level: float = 0.95) -> Estimate:
    """Return the median with the interval between two order statistics, which holds for any distribution.

    Source: Thompson (1936), Annals of Mathematical Statistics 7, 122-128: binomial with probability 1/2.

    Args:
        values: Independent repeats, at least one.
        unit: Of the values.
        definition: What is measured.
        level: Confidence level, reached at least; below 6 repeats 95 % cannot be, and there is no interval.
    """
    ordered, count = np.sort(values), len(values)
    rank = sum(2 * bdtr(rank, count, 0.5) <= 1 - level for rank in range(count // 2))
    ends = (float(ordered[rank - 1]), float(ordered[count - rank])) if rank else (None, None)
    return Estimate(float(np.median(ordered)), *ends, level, count, unit, "median, order statistics", definition)


def _warm_up(bench: Bench, sizes: Sequence[int], most_seconds: float) -> tuple[dict[int, float], str | None]:
    """Return the seconds of each size's first step, up to the first size that is too slow or does not fit."""
    first: dict[int, float] = {}
    for size in sizes:
        batch = bench.batch(size)
        seconds, fitted = bench.step(batch, size)
        if fitted < size:
            return first, f"batch size {size} does not fit into memory (micro-batches of {fitted} do)"
        first[size] = seconds
        later = [bench.step(batch, size)[0] for _ in range(WARM_UP)]
        if min(later) > most_seconds and size != sizes[-1]:
            return first, f"a step of batch size {size} takes {min(later):.2g} s: larger ones were not timed"
    return first, None


def _timed(size: int, first: float, times: Sequence[float]) -> TimedSize:
    median = median_estimate(times, unit="seconds", definition=DEFINITION)
    return TimedSize(size, median, size / float(np.median(times)), first, tuple(times))
