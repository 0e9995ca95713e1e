"""Batch sharpness: the curvature of a mini-batch's loss along that batch's own gradient."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float

from ..estimate import Estimate
from ..statistics.fieller import ratio_interval
from ..statistics.means import margin
from .surface import Surface

UNIT = "loss per (unit of parameter) squared"
MEAN_OF_RATIOS = "batch sharpness, mean of ratios: E[g'Hg / |g|^2], g and H of one batch"
RATIO_OF_MEANS = "batch sharpness, ratio of means: E[g'Hg] / E[|g|^2], g and H of one batch"


@final
@dataclass(frozen=True, eq=False)
class BatchCurvatures:
    """g'Hg and |g|^2 of each batch, g and H the gradient and the Hessian of its mean loss (and penalty).

    Two definitions of batch sharpness are in use, which differ: for losses a_i w^2 / 2 the first is the mean of a, the
    second E[a_B^3] / E[a_B^2]. Stochastic gradient descent that has settled at the edge of stability has the first near
    2 / learning rate (the source finds so; not with cross-entropy on small data).

    Source: Andreyev and Beneventano (2024), arXiv:2412.20553.

    Attributes:
        batch_size: Examples in a batch.
        curvature: g'Hg, in loss cubed per (unit of parameter) to the fourth.
        squared_norm: |g|^2, in (loss per unit of parameter) squared.
    """

    batch_size: int
    curvature: Float[np.ndarray, " batch"]
    squared_norm: Float[np.ndarray, " batch"]

    def mean_of_ratios(self, level: float = 0.95) -> Estimate:
        """Return E[g'Hg / |g|^2], unbiased, with Student's interval over batches."""
        if reason := self._missing():
            return self._without(reason, MEAN_OF_RATIOS, level)
        ratios = self.curvature / self.squared_norm
        value, half = float(ratios.mean()), margin(ratios, level)
        low, high = (value - half, value + half) if math.isfinite(half) else (None, None)
        method = "mean over batches, Student t"
        return Estimate(value, low, high, level, len(ratios), UNIT, method, self._named(MEAN_OF_RATIOS))

    def ratio_of_means(self, level: float = 0.95) -> Estimate:
        """Return E[g'Hg] / E[|g|^2], with Fieller's interval over batches; its bias is of order 1 / batches.

        Where few batches carry most of E[g'Hg] the interval is too narrow: for losses a_i w^2 / 2, a from 0.5
        to 9, in pairs, 95% intervals over 32 batches cover 92%.
        """
        if reason := self._missing():
            return self._without(reason, RATIO_OF_MEANS, level)
        count, value = len(self.curvature), float(self.curvature.mean() / self.squared_norm.mean())
        ends = ratio_interval(self.curvature, self.squared_norm, level) if count > 1 else None
        low, high = (ends.low, ends.high) if ends else (None, None)
        method = "ratio of means over batches, Fieller"
        return Estimate(value, low, high, level, count, UNIT, method, self._named(RATIO_OF_MEANS))

    def _missing(self) -> str | None:
        lost = int((~np.isfinite(self.curvature) | ~np.isfinite(self.squared_norm)).sum())
        if lost:
            return f"{lost} of {len(self.curvature)} batches have a gradient that is not finite"
        still = int((self.squared_norm == 0).sum())
        return f"{still} of {len(self.curvature)} batches have no gradient" if still else None

    def _without(self, reason: str, definition: str, level: float) -> Estimate:
        count = len(self.curvature)
        return Estimate.missing(reason, unit=UNIT, definition=self._named(definition), level=level, count=count)

    def _named(self, definition: str) -> str:
        return f"{definition} of {self.batch_size}"


def batch_curvatures(
    surface: Surface, *, batch_size: int, batches: int, generator: torch.Generator, second_pass: float | None = None
) -> BatchCurvatures:  # fmt: skip
    """Return g'Hg and |g|^2 of `batches` batches: uniform subsets of the surface's set, independent of each other.

    By a Hessian product, about four passes over a batch; or by a second pass over the same batch, which needs no second
    derivative: after the step w - rate g its gradient is g', and g'Hg is (|g|^2 - g.g') / rate. That is exact on
    quadratics; elsewhere it is the mean curvature along this step. Where the surface normalises by "batch" statistics,
    each batch is normalised by its own.

    Source: Andreyev and Beneventano (2024), arXiv:2412.20553; the second pass is derived.

    Args:
        surface: At its current point; its set is what batches are drawn from.
        batch_size: Examples in a batch.
        batches: How many.
        generator: On the CPU.
        second_pass: Learning rate of the step before the second pass; None for the Hessian product.

    Raises:
        ValueError: If a batch is larger than the set, or a number is out of range.
    """
    if not 1 <= batch_size <= surface.count or batches < 1:
        raise ValueError(
            f"`batch_curvatures(batch_size={batch_size}, batches={batches})`: give a batch size from 1 to the surface's "
            f"{surface.count} examples, and at least 1 batch."
        )
    if second_pass is not None and not second_pass > 0:
        raise ValueError(f"`batch_curvatures(second_pass={second_pass})`: the learning rate must be above 0.")
    pairs = []
    for _ in range(batches):
        some = torch.randperm(surface.count, generator=generator)[:batch_size].to(surface.inputs.device)
        batch = surface.on(surface.inputs[some], surface.targets[some])
        pairs.append(_exact(batch) if second_pass is None else _second_pass(batch, second_pass))
    curvature, squared_norm = np.array(pairs).T
    return BatchCurvatures(batch_size, curvature, squared_norm)


def _exact(batch: Surface) -> tuple[float, float]:
    gradient = batch.gradient()
    if not bool(gradient.isfinite().all()):
        return math.nan, math.nan
    product = batch.hessian() @ gradient
    return float(gradient.double() @ product.double()), float(gradient.double().square().sum())


def _second_pass(batch: Surface, learning_rate: float) -> tuple[float, float]:
    first = batch.gradient()
    second = batch.gradient(batch.point - learning_rate * first)
    squared_norm = float(first.double().square().sum())
    return (squared_norm - float(first.double() @ second.double())) / learning_rate, squared_norm
