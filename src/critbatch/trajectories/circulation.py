"""Broken detailed balance: does a trajectory go round, and how fast?

At equilibrium a stationary process visits every loop as often one way round as the other, whatever its memory or colour.
The area that it sweeps on average about its mean is then 0 in every plane; a current that goes round makes it a number with
a sign. Chaudhari and Soatto (2017), arXiv:1710.11029, predict such currents for SGD whose noise is not isotropic.

The trajectory must be stationary. A random walk, or one that still drifts, looks in its own principal planes like an arc of
a cosine, and sweeps area.
"""

import itertools
from dataclasses import dataclass
from typing import final

import numpy as np

from ..estimate import Estimate
from .stationary import stationary_mean

AREA = "area swept per step about the mean, (x dy - y dx)/2"
TURN = "area swept per step over the root of the determinant of the plane's covariance"


@final
@dataclass(frozen=True)
class Plane:
    """How a trajectory goes round in the plane of two coordinates: positive from the first towards the second.

    Attributes:
        first: Index of the coordinate.
        second: Of the other one.
        area_rate: In coordinate squared per step.
        angular_velocity: In radians per step, on average, in units in which the plane's covariance is the identity.
    """

    first: int
    second: int
    area_rate: Estimate
    angular_velocity: Estimate


def principal_coordinates(trajectory: np.ndarray, count: int) -> np.ndarray:
    """Return the trajectory, less its mean, along its leading principal components, shape (time, component).

    A component's sign, which decides which way round is positive, makes its largest loading positive.

    Args:
        trajectory: Shape (time, coordinate).
        count: How many components; at most the number of coordinates, below that of times.

    Raises:
        ValueError: If there are not so many.
    """
    values = _checked(trajectory)
    most = min(values.shape[1], len(values) - 1)
    if not 1 <= count <= most:
        raise ValueError(f"`principal_coordinates(count={count})`: a trajectory of this shape has 1 to {most}.")
    middle = values - values.mean(0)
    axes = np.linalg.svd(middle, full_matrices=False)[2][:count]
    largest = np.abs(axes).argmax(1)
    return middle @ (axes * np.sign(axes[np.arange(count), largest])[:, None]).T


def area_rates(coordinates: np.ndarray) -> np.ndarray:
    """Return the area swept per step in every plane, an antisymmetric matrix of shape (coordinate, coordinate).

    Entry i, j is the mean of (x_i dx_j - x_j dx_i)/2. Taken at the middle of a step (Stratonovich) or at its beginning
    (Ito) it is the same number, (x_i(t) x_j(t+1) - x_j(t) x_i(t+1))/2: half of what the covariance at lag one differs
    from its transpose. White noise on the observations adds nothing to it on average. For x(t+1) = F x(t) + noise of
    stationary covariance C it is the antisymmetric part of C F'.

    Source: Gonzalez, Neu and Teitsworth (2019), arXiv:1810.07865, for the stochastic area; Battle et al. (2016), Science
    352, 604-607, for currents as a sign of broken detailed balance.

    Args:
        coordinates: Shape (time, coordinate), few of them (`principal_coordinates`).

    Returns:
        In coordinate squared per step.
    """
    values = _checked(coordinates)
    middle = values - values.mean(0)
    products = middle[:-1].T @ middle[1:] / (len(values) - 1)
    return (products - products.T) / 2


def circulation_strength(coordinates: np.ndarray) -> float:
    """Return the root of the sum of squared angular velocities over all planes, with all coordinates decorrelated.

    One number for the comparison with nulls (`critbatch.trajectories.nulls`). No linear map of the coordinates changes
    it. It is above 0 by chance alone and has no interval: only its size among draws of a null says something.

    Args:
        coordinates: Shape (time, coordinate), at least two and none a combination of others.

    Returns:
        Radians per step.
    """
    values = _checked(coordinates)
    inverse = np.linalg.inv(np.linalg.cholesky(np.cov(values.T, bias=True)))
    return float(np.linalg.norm(inverse @ area_rates(values) @ inverse.T) / 2**0.5)


def plane_circulations(
    coordinates: np.ndarray, *, level: float = 0.95, block: int | None = None
) -> tuple[Plane, ...]:  # fmt: skip
    """Return how the trajectory goes round in every plane of two of the coordinates, with intervals.

    An interval holds for one plane. Where any of m planes would do as evidence, use the level 1 - (1 - level)/m. The area
    rate is unbiased but for the mean that is taken off; the angular velocity, a ratio, is too large by a share of the order
    of the relaxation time over the length.

    Source: as `area_rates`; the angular velocity is ours: in a plane of round covariance it is the area rate over the
    variance, hence the average of the angle's velocity with squared radii as weights. Intervals: `stationary_mean`.

    Args:
        coordinates: Shape (time, coordinate), few of them (`principal_coordinates`).
        level: Confidence level.
        block: Steps in a block; None for a length that each series itself asks for.
    """
    values = _checked(coordinates)
    middle = values - values.mean(0)
    planes = itertools.combinations(range(values.shape[1]), 2)
    return tuple(_plane(middle[:, pair], *pair, level=level, block=block) for pair in map(list, planes))


def _plane(middle: np.ndarray, first: int, second: int, *, level: float, block: int | None) -> Plane:
    x, y = middle.T
    areas = (x[:-1] * y[1:] - y[:-1] * x[1:]) / 2
    rate = float(areas.mean())
    xx, yy, xy = (x * x)[:-1], (y * y)[:-1], (x * y)[:-1]
    squared = xx.mean() * yy.mean() - xy.mean() ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        size = squared**0.5  # of which the influence is that of the determinant over 2 size
        pull = xx * yy.mean() + yy * xx.mean() - 2 * xy * xy.mean() - 2 * squared
        turns = areas / size - rate / (2 * squared * size) * pull
        velocity = float(rate / size)
    given = {"level": level, "block": block}
    return Plane(
        first, second,
        stationary_mean(rate, areas, unit="coordinate squared per step", definition=AREA, **given),
        stationary_mean(velocity, turns, unit="radians per step", definition=TURN, **given),
    )  # fmt: skip


def _checked(trajectory: np.ndarray) -> np.ndarray:
    """Return the trajectory in double precision.

    Raises:
        ValueError: If it is not one, or too short to move.
    """
    values = np.asarray(trajectory, dtype=float)
    if values.ndim != 2 or len(values) < 2:
        raise ValueError(f"a trajectory has the shape (time, coordinate), with at least 2 times; got {values.shape}.")
    return values
