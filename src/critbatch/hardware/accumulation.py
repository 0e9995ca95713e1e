"""Micro-batches added up against one real batch: time and gradient."""

import dataclasses
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..estimate import Estimate
from ..noise import has_batch_norm
from ..statistics.means import mean_estimate
from .bench import Bench, settled
from .timing import median_estimate

TOLERANCE = 1e-5  # relative, in float32


@final
@dataclass(frozen=True)
class Accumulation:
    """One batch done as a whole, and as micro-batches whose gradients are added up.

    Attributes:
        batch_size: Examples per step.
        micro_batch_size: Examples per forward pass when accumulated.
        seconds: Median of a step on the whole batch.
        accumulated_seconds: Median of a step of micro-batches.
        ratio: Accumulated over whole: above 1 accumulation is slower.
        gradient_difference: Norm of the difference of the two gradients over the norm of the whole batch's. Same
            parameters, same examples.
        is_same: Whether the difference is at most 1e-5.
        reason: Why the gradients differ, or None.
    """

    batch_size: int
    micro_batch_size: int
    seconds: Estimate
    accumulated_seconds: Estimate
    ratio: Estimate
    gradient_difference: float
    is_same: bool
    reason: str | None


def compare_accumulation(bench: Bench, batch_size: int, micro_batch_size: int, *, repeats: int) -> Accumulation:
    """Return time and gradient of a step in micro-batches against one on the whole batch.

    The two take turns, so that a load that comes and goes meets both.

    Args:
        bench: What takes the steps.
        batch_size: Examples per step, at most the training set.
        micro_batch_size: Examples per forward pass.
        repeats: Timed steps of each, at least 2.

    Raises:
        ValueError: If the micro-batch is not smaller than the batch.
    """
    if not 1 <= micro_batch_size < batch_size:
        raise ValueError(
            f"`compare_accumulation(batch_size={batch_size}, micro_batch_size={micro_batch_size})`: the micro-batch must "
            "be smaller than the batch, and at least 1."
        )
    batch = bench.batch(batch_size)
    times: dict[int, list[float]] = {batch_size: [], micro_batch_size: []}
    for _ in range(repeats):
        for size, taken in times.items():
            bench.step(batch, size)
            taken.append(bench.step(batch, size)[0])
    whole, accumulated = times[batch_size], times[micro_batch_size]
    difference, reason = _differs(bench, batch_size, micro_batch_size)
    return Accumulation(
        batch_size=batch_size,
        micro_batch_size=micro_batch_size,
        seconds=median_estimate(whole, unit="seconds", definition="a step on the whole batch"),
        accumulated_seconds=median_estimate(accumulated, unit="seconds", definition="a step of micro-batches"),
        ratio=_ratio(np.divide(accumulated, whole)),
        gradient_difference=difference,
        is_same=difference <= TOLERANCE,
        reason=reason,
    )


def _ratio(ratios: np.ndarray) -> Estimate:
    found = mean_estimate(ratios, unit="", definition="seconds accumulated over whole", logarithmic=True)
    return dataclasses.replace(found, method="geometric mean over pairs of neighbouring steps, Student t")


def gradient_difference(one: Float[Tensor, " parameter"], other: Float[Tensor, " parameter"]) -> float:
    """Return |one - other| / |one|; |other| where `one` is 0."""
    norm = float(torch.linalg.vector_norm(one, dtype=torch.float64))
    return float(torch.linalg.vector_norm(one - other, dtype=torch.float64)) / (norm or 1.0)


def _differs(bench: Bench, batch_size: int, micro_batch_size: int) -> tuple[float, str | None]:
    whole = _gradient(bench, batch_size, batch_size, stream=0)
    difference = gradient_difference(whole, _gradient(bench, batch_size, micro_batch_size, stream=0))
    if difference <= TOLERANCE:
        return difference, None
    if has_batch_norm(bench.model):
        return difference, (
            "BatchNorm normalises each micro-batch by itself: accumulated micro-batches are another objective than one "
            "batch. Use GroupNorm or LayerNorm, or do not accumulate"
        )
    if gradient_difference(whole, _gradient(bench, batch_size, batch_size, stream=1)) > TOLERANCE:
        return (
            difference,
            "the forward pass draws random numbers (dropout): micro-batches get other draws than one batch",
        )
    return difference, (
        f"neither BatchNorm nor random layers explain it: rounding in {bench.run.dtype} (try float64), or a model or loss "
        "in which the examples of a batch meet"
    )


def _gradient(bench: Bench, batch_size: int, micro_batch_size: int, *, stream: int) -> Float[Tensor, " parameter"]:
    """Return the gradient that a first step leaves in a new model."""
    with settled(bench.device, threads=torch.get_num_threads(), seed=bench.run.seed + stream):
        new = Bench(bench.task, bench.run, bench.take_step, bench.device)
        new.step(new.batch(batch_size), micro_batch_size)
    return torch.cat([one.grad.flatten() for one in new.model.parameters() if one.grad is not None])
