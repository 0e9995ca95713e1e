"""The loss along lines and on planes: between two minima, and in chosen directions."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from .surface import PerExample, Surface

POSITIONS = tuple(np.linspace(-1, 2, 25).tolist())  # Keskar et al. (2016), Section 2.2.1
STATISTICS = ("running_mean", "running_var")
Statistics = Literal["recomputed", "interpolated", "batch"]
SurfaceAt = Callable[[float], Surface]


@final
@dataclass(frozen=True, eq=False)
class Line:
    """The loss and other means at positions alpha on the line w + alpha d.

    Attributes:
        positions: Increasing, in lengths of d.
        loss: At each position; infinite ones stay.
        metrics: The mean of each value per example, by name.
        length: |d|, in units of a parameter.
    """

    positions: Float[np.ndarray, " position"]
    loss: Float[np.ndarray, " position"]
    metrics: Mapping[str, Float[np.ndarray, " position"]]
    length: float


@final
@dataclass(frozen=True)
class FlatWidth:
    """The stretch of a line around one of its points on which the loss stays low.

    Attributes:
        low: Position where the loss reaches the threshold on the left.
        high: The same on the right.
        is_cut: Whether an end of the line was reached first: the stretch is at least that long.
    """

    low: float
    high: float
    is_cut: bool

    @property
    def width(self) -> float:
        """Return the length of the stretch, in units of alpha."""
        return self.high - self.low


def line(
    surface: Surface, direction: Float[Tensor, " parameter"], *, positions: Sequence[float] = POSITIONS,
    metrics: Mapping[str, PerExample] | None = None,
) -> Line:  # fmt: skip
    """Return loss and metrics along w + alpha d, w the surface's current point; one forward pass for each position."""
    return _line(lambda position: surface, surface.point, direction, positions, metrics or {})


def plane(
    surface: Surface, first: Float[Tensor, " parameter"], second: Float[Tensor, " parameter"], *,
    first_positions: Sequence[float], second_positions: Sequence[float],
) -> Float[np.ndarray, "first_position second_position"]:  # fmt: skip
    """Return the loss at w + alpha d + beta e: a row for each alpha, a column for each beta."""
    rows = [
        [surface.loss(surface.point + alpha * first + beta * second) for beta in second_positions]
        for alpha in first_positions
    ]
    return np.array(rows)


def interpolation(
    first: Surface, second: Surface, *, positions: Sequence[float] = POSITIONS, statistics: Statistics = "recomputed",
    metrics: Mapping[str, PerExample] | None = None, reference: Tensor | None = None,
) -> Line:  # fmt: skip
    """Return loss and metrics along the line through two minima: `first` at alpha 0, `second` at 1.

    Trained weights alone are interpolated. Running statistics of BatchNorm, which belong to the weights they were taken
    with, are at each position "recomputed" in one pass over the `reference` inputs; or "interpolated" as the weights
    are (below 0 variances stay at 0); or not used: "batch" normalises by the statistics of the whole set at once. The
    three differ between minima and beyond; the source does not say. Data, losses and penalty are those of `first`.

    Source: Goodfellow et al. (2015), arXiv:1412.6544; Keskar et al. (2016), arXiv:1609.04836, Section 2.2.1.

    Args:
        first: At a minimum.
        second: The same network at another one.
        positions: Values of alpha, increasing.
        statistics: Of BatchNorm.
        metrics: Values per example by name.
        reference: Inputs for "recomputed"; those of `first` where None.

    Raises:
        ValueError: If the two differ in more than trained weights and running statistics.
    """
    _check_pair(first, second)
    direction = second.point - first.point
    model, normalisation = first.model, "batch" if statistics == "batch" else "running"
    own = Surface(model, first.losses, first.inputs, first.targets, l2=first.l2, normalisation=normalisation)
    seen = first.inputs if reference is None else reference
    observer = Surface(model, first.losses, seen, seen, normalisation="batch")

    def surface_at(position: float) -> Surface:
        if statistics == "interpolated":
            _interpolate(own.model, first.model, second.model, position)
        elif statistics == "recomputed":
            _recompute(own.model, observer, first.point + position * direction)
        return own

    return _line(surface_at, first.point, direction, positions, metrics or {})


def flat_width(line: Line, at: float, *, factor: float = 2.0, slack: float = 0.1) -> FlatWidth:
    """Return the stretch around position `at` with losses below factor x loss(at) + slack.

    Between positions the loss is interpolated linearly; losses that are not finite count as infinite.

    Source: factor 2 and slack 0.1 are ours (a definition for Keskar et al. (2016), arXiv:1609.04836, Figure 3).

    Args:
        line: A finite loss at `at`.
        at: One of the line's positions.
        factor: Of the loss there.
        slack: In units of the loss, above 0.

    Raises:
        ValueError: If `at` is not a position of the line, or the loss there is not finite.
    """
    index = _index(line, at)
    losses = np.where(np.isfinite(line.loss), line.loss, np.inf)
    if not np.isfinite(losses[index]):
        raise ValueError(f"`flat_width(at={at})`: the loss there is not finite. Start from a minimum.")
    threshold = factor * losses[index] + slack
    (low, left_cut), (high, right_cut) = (
        _crossing(line.positions[side], losses[side], threshold)
        for side in (slice(index, None, -1), slice(index, None))
    )
    return FlatWidth(low, high, left_cut or right_cut)


def line_curvature(line: Line, at: float) -> float:
    """Return the second derivative of the loss at a position, from it and its neighbours: exact for a parabola.

    Args:
        line: At least three positions.
        at: One of them, not the first or last.

    Returns:
        In units of the loss, per squared unit of alpha; over the line's squared length, per squared unit of parameter.

    Raises:
        ValueError: If `at` has no neighbour on one side, or is not a position of the line.
    """
    index = _index(line, at)
    if not 0 < index < len(line.positions) - 1:
        raise ValueError(f"`line_curvature(at={at})`: the line ends there. Use an inner position.")
    steps, rises = (np.diff(values[index - 1 : index + 2]) for values in (line.positions, line.loss))
    return float(2 * np.diff(rises / steps)[0] / steps.sum())


def _line(
    surface_at: SurfaceAt, start: Tensor, direction: Tensor, positions: Sequence[float],
    metrics: Mapping[str, PerExample],
) -> Line:  # fmt: skip
    found = np.array([float(one) for one in positions])
    if len(found) < 2 or not (np.diff(found) > 0).all():
        raise ValueError(f"`line(positions={list(positions)})`: give at least 2 positions that increase.")
    losses, means = [], {name: [] for name in metrics}
    for position in found.tolist():
        surface, point = surface_at(position), start + position * direction
        outputs = surface.outputs(point)
        penalty = surface.l2 / 2 * float(point.double().square().sum())
        losses.append(float(surface.losses(outputs, surface.targets).double().mean()) + penalty)
        for name, values in metrics.items():
            means[name].append(float(values(outputs, surface.targets).double().mean()))
    columns = {name: np.array(column) for name, column in means.items()}
    return Line(found, np.array(losses), columns, float(torch.linalg.vector_norm(direction)))


def _index(line: Line, at: float) -> int:
    index = int(np.abs(line.positions - at).argmin())
    if abs(line.positions[index] - at) > 1e-9:
        raise ValueError(f"`at={at}` is not a position of the line; the nearest is {line.positions[index]:g}.")
    return index


def _crossing(positions: np.ndarray, losses: np.ndarray, threshold: float) -> tuple[float, bool]:
    """Return where losses first reach the threshold, walking from the first; the last position and True if nowhere."""
    beyond = np.flatnonzero(losses >= threshold)
    if not len(beyond):
        return float(positions[-1]), True
    after = int(beyond[0])
    share = (threshold - losses[after - 1]) / (losses[after] - losses[after - 1])
    return float(positions[after - 1] + share * (positions[after] - positions[after - 1])), False


def _normalising(model: nn.Module) -> Iterator[nn.modules.batchnorm._BatchNorm]:
    """Yield the BatchNorm layers that keep running statistics."""
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None:
            yield layer


def _check_pair(first: Surface, second: Surface) -> None:
    """Check that two surfaces differ in trained weights and running statistics alone.

    Raises:
        ValueError: If they do not.
    """
    shapes = [{name: one.shape for name, one in part.named(part.point).items()} for part in (first, second)]
    if shapes[0] != shapes[1]:
        raise ValueError("`interpolation`: the two networks do not have the same trained parameters.")
    states = []
    for part in (first, second):
        model = copy.deepcopy(part.model)
        for layer in _normalising(model):
            layer.reset_running_stats()
        states.append({name: one for name, one in model.state_dict().items() if name not in shapes[0]})
    if other := [name for name, one in states[0].items() if not torch.equal(one, states[1][name])]:
        raise ValueError(
            f"`interpolation`: frozen parameters or buffers differ, {other[0]!r} first. Only trained weights are "
            "interpolated: give both networks the same ones."
        )


def _interpolate(model: nn.Module, first: nn.Module, second: nn.Module, position: float) -> None:
    for layer, *ends in zip(*map(_normalising, (model, first, second)), strict=True):
        for name in STATISTICS:
            start, end = (getattr(one, name) for one in ends)
            getattr(layer, name).copy_(start + position * (end - start))
        layer.running_var.clamp_(min=0)


def _recompute(model: nn.Module, observer: Surface, point: Tensor) -> None:
    """Set running statistics to mean and unbiased variance of the observer's set at a point."""
    observing = list(_normalising(observer.model))
    for layer in observing:
        layer.momentum = 1.0
    if observing:
        observer.outputs(point)
    for layer, seen in zip(_normalising(model), observing, strict=True):
        for name in STATISTICS:
            getattr(layer, name).copy_(getattr(seen, name))
