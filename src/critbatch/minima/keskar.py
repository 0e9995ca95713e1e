"""The sharpness of Keskar et al.: how high the loss rises within a small box around a minimum."""

import contextlib
import math
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import minimize
from torch import Tensor

from .surface import Surface

ITERATIONS = 10  # Keskar et al. (2016), Section 2.2.2
DIRECTIONS = 100  # the same


@final
@dataclass(frozen=True)
class BoxRise:
    """The largest loss that was found in a box, and what finding it took.

    Attributes:
        value: phi = 100 (largest - f) / (1 + f), in %: a lower bound of the true one, at least 0. Infinite where a loss
            in the box is; NaN where the loss f at the centre is not finite.
        largest: Loss.
        at_bound: Share of the box's coordinates that are on its boundary where the largest loss was found.
        evaluations: Of loss and gradient.
    """

    value: float
    largest: float
    at_bound: float
    evaluations: int


def keskar_sharpness(
    surface: Surface, *, epsilon: float = 1e-3, directions: Float[Tensor, "parameter direction"] | None = None,
    offset: float = 1.0, iterations: int = ITERATIONS, starts: int = 2, generator: torch.Generator | None = None,
) -> BoxRise:  # fmt: skip
    """Return phi = 100 (max of f(w + A z) over the box - f(w)) / (1 + f(w)), the box |z_i| <= epsilon (|(A+ w)_i| + 1).

    A is the identity or a matrix of random directions, A+ its pseudo-inverse. The loss f is the surface's, penalty
    included. Not invariant under rescaling of layers, by the 1 and, in random directions, by A. With `offset` 0 in place
    of the 1 and A the identity it is invariant under any rescaling of single parameters that keeps the function.

    The maximum is looked for by 10 iterations of L-BFGS-B, as in the source, which says no more. Ours: coordinates are in
    units of the box's half widths; the objective is divided by the median size of its partial derivatives at the start,
    so that the first step takes half of the coordinates to the boundary (without that, ten iterations stay inside where
    gradients are small: at losses of 3e-4 they found 3 to 80% of the rise); the first start is the centre, any other a
    uniform draw from the box; the largest loss seen counts. A lower bound: as a rule within 2% of a longer search, but
    starts may end at maxima that differ by a factor of 2. Cost: 12 to 20 passes forward and backward for each start.

    Source: Keskar et al. (2016), arXiv:1609.04836, Metric 2.1; Byrd et al. (1995), SIAM Journal on Scientific Computing
    16, 1190-1208, for L-BFGS-B; `offset` 0 is elementwise adaptive sharpness, Kwon et al. (2021), arXiv:2102.11600.

    Args:
        surface: At its current point.
        epsilon: 1e-3 and 5e-4 in the source.
        directions: A, of full rank, for example from `random_directions`; None for the full space.
        offset: Added to |(A+ w)_i|.
        iterations: Of each start.
        starts: At least 1.
        generator: On the CPU; for more than one start.

    Raises:
        ValueError: If a number is out of range, or random starts have no generator.
    """
    if not (epsilon > 0 and offset >= 0 and iterations >= 1 and starts >= 1):
        raise ValueError(
            f"`keskar_sharpness(epsilon={epsilon}, offset={offset}, iterations={iterations}, starts={starts})`: epsilon "
            "must be above 0, offset at least 0, iterations and starts at least 1."
        )
    if starts > 1 and generator is None:
        raise ValueError(f"`keskar_sharpness(starts={starts})`: random starts need a `generator`.")
    coordinates = surface.point if directions is None else _coordinates(directions, surface.point)
    box = _Box(surface, epsilon * (coordinates.abs() + offset), directions)
    size = len(coordinates)
    centre = box.at(np.zeros(size))[0]
    if not math.isfinite(centre):
        return BoxRise(math.nan, centre, 0.0, box.evaluations)
    for number in range(starts):
        draw = torch.rand(size, generator=generator, dtype=torch.float64) if number else torch.full((size,), 0.5)
        with contextlib.suppress(_InfiniteLoss):
            _ascend(box, (2 * draw.double() - 1).numpy(), iterations)
    value = 100 * (box.largest - centre) / (1 + centre)
    return BoxRise(value, box.largest, float((np.abs(box.where) >= 1 - 1e-9).mean()), box.evaluations)


def random_directions(
    surface: Surface, *, generator: torch.Generator, count: int = DIRECTIONS
) -> Float[Tensor, "parameter direction"]:
    """Return A for `keskar_sharpness`: independent standard normal numbers, columns not normalised.

    The source says that columns are random, and no more. Columns of unit length would make the box smaller by the
    root of the number n of parameters, and the rise, to first order, n/100 times smaller than in the full space;
    published ones are 1 to 37 times smaller. As they are it is the root of n over 100 times.
    Memory: parameters x directions numbers, and in `keskar_sharpness` for a while three times as much.

    Source: Keskar et al. (2016), arXiv:1609.04836, Section 2.2.2; the distribution is ours.

    Args:
        surface: Says how many parameters there are.
        generator: On the CPU.
        count: At most the number of parameters are taken.
    """
    shape = (surface.size, min(count, surface.size))
    return torch.randn(shape, generator=generator, dtype=surface.point.dtype).to(surface.point)


def _coordinates(directions: Tensor, point: Tensor) -> Tensor:
    """Return A+ w. In double precision: as many directions as parameters make A nearly singular."""
    solution, *_ = torch.linalg.lstsq(directions.double(), point.double()[:, None])
    return solution[:, 0].to(point)


class _InfiniteLoss(Exception):
    """Ends a search: nothing is higher."""


class _Box:
    """The loss as a function of coordinates in units of a box's half widths; keeps the largest that was seen."""

    def __init__(self, surface: Surface, half: Tensor, directions: Tensor | None) -> None:
        self.surface, self.half, self.directions = surface, half, directions
        self.evaluations, self.largest, self.where = 0, -math.inf, np.zeros(len(half))

    def at(self, inside: np.ndarray) -> tuple[float, np.ndarray]:
        """Return loss and gradient at coordinates in [-1, 1], shape (coordinate,)."""
        self.evaluations += 1
        moved = self.half * torch.from_numpy(inside).to(self.half)
        shift = moved if self.directions is None else self.directions @ moved
        loss, gradient = self.surface.loss_and_gradient(self.surface.point + shift)
        if not math.isfinite(loss):
            loss = math.inf
        if loss > self.largest:
            self.largest, self.where = loss, inside.copy()
        back = gradient if self.directions is None else self.directions.T @ gradient
        return loss, (self.half * back).double().cpu().numpy()


def _ascend(box: _Box, start: np.ndarray, iterations: int) -> None:
    loss, gradient = box.at(start)
    sizes = np.abs(gradient[gradient != 0])
    if not len(sizes) or not np.isfinite(gradient).all():
        return
    scale = 1 / float(np.median(sizes))

    def objective(inside: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = box.at(inside)
        if not (math.isfinite(value) and np.isfinite(slope).all()):
            raise _InfiniteLoss
        return -scale * (value - loss), -scale * slope

    options = {"maxiter": iterations, "ftol": 0.0, "gtol": 0.0}
    minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(-1, 1)] * len(start), options=options)
