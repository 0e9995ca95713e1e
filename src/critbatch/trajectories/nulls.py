"""Trajectories without a current that are otherwise like a given one: what area and asymmetry chance alone makes.

Three nulls, each of which takes away something else.

- `EquilibriumOU`: linear, Gaussian, in detailed balance; the covariance and the relaxation times are those of the data. It
  takes away the current and everything that is not linear. Of oscillations in one coordinate it knows nothing.
- `independent_surrogate`: keeps the spectrum of every coordinate, lines included, and nearly its distribution, and draws the
  phases of each coordinate anew. It takes away all that holds between coordinates, hence the current, and the direction of
  time within each. It is the null for circulation of coordinates that may oscillate by themselves: give it uncorrelated
  coordinates (`principal_coordinates`), or it takes their correlation too. Two coordinates that hold the same sharp line
  go round in the surrogates too, one way or the other as their phases happen to fall: against those only a current
  beyond the lines' own size is seen.
- `common_phase_surrogate`: turns the phases of all coordinates alike, which keeps every cross-spectrum and therefore the
  current. It is no null for circulation; it takes away what is not Gaussian: a null for `time_asymmetries`.

The third null of a current in SGD is no function of the trajectory: SGD with isotropic noise of equal trace, which has no
current in theory (Chaudhari and Soatto (2017), arXiv:1710.11029, Lemma 6), must be trained.
"""

from dataclasses import dataclass
from typing import final

import numpy as np


@final
@dataclass(frozen=True, eq=False)
class EquilibriumOU:
    """A stationary Gaussian process of independent modes, each with one relaxation time: in detailed balance.

    Sampled at whole steps, x = mean + mixing z with z_k(t+1) = persistence_k z_k(t) + sqrt(1 - persistence_k^2) noise.

    Attributes:
        mean: Shape (coordinate,).
        mixing: Shape (coordinate, mode); mixing mixing' is the stationary covariance.
        persistence: Shape (mode,), each between -1 and 1, largest first.
    """

    mean: np.ndarray
    mixing: np.ndarray
    persistence: np.ndarray

    @classmethod
    def fitted_to(cls, trajectory: np.ndarray) -> "EquilibriumOU":
        """Return the process with the covariance of a trajectory and the symmetric part of its covariance at lag one.

        Both are taken over the pairs of neighbours, forwards and backwards, so that no persistence is beyond 1.

        Source: derived; for a linear Gaussian process detailed balance is the symmetry of its lagged covariances.

        Args:
            trajectory: Shape (time, coordinate), few coordinates and none a combination of others.

        Raises:
            ValueError: If the coordinates are not that.
        """
        values = np.asarray(trajectory, dtype=float)
        mean = values.mean(0)
        before, after = values[:-1] - mean, values[1:] - mean
        covariance = (before.T @ before + after.T @ after) / (2 * len(before))
        lagged = (before.T @ after + after.T @ before) / (2 * len(before))
        scales, axes = np.linalg.eigh(covariance)
        if not scales[0] > scales[-1] * len(scales) * np.finfo(float).eps:
            raise ValueError(
                f"`EquilibriumOU`: the covariance of {len(scales)} coordinates over {len(values)} times is singular. Give "
                "fewer coordinates, such as `principal_coordinates`, or more times."
            )
        root = axes * scales**0.5
        inverse = axes / scales**0.5
        persistence, modes = np.linalg.eigh(inverse.T @ lagged @ inverse)
        return cls(mean, (root @ modes)[:, ::-1], persistence[::-1])

    def simulate(self, steps: int, *, draws: int, generator: np.random.Generator) -> np.ndarray:
        """Return independent stationary trajectories, shape (draw, time, coordinate)."""
        noise = generator.standard_normal((steps, draws, len(self.persistence)))
        noise[1:] *= (1 - np.minimum(self.persistence**2, 1)) ** 0.5
        for step in range(1, steps):
            noise[step] += self.persistence * noise[step - 1]
        return self.mean + noise.transpose(1, 0, 2) @ self.mixing.T


def independent_surrogate(
    trajectory: np.ndarray, *, generator: np.random.Generator, iterations: int = 100
) -> np.ndarray:  # fmt: skip
    """Return a trajectory with the spectrum and nearly the distribution of each coordinate, and phases of their own.

    Values in a random order are given the amplitudes of the series' Fourier transform, then by rank the series' values, in
    turns. The last turn is that of the amplitudes: the spectrum is exact, the distribution nearly so.

    Source: Schreiber and Schmitz (1996), Physical Review Letters 77, 635-638 (iterated, amplitude adjusted).

    Args:
        trajectory: Shape (time, coordinate). It is taken as periodic: it should end about where it began, or be long.
        generator: Of the random order.
        iterations: At most so many turns, at least 1; it ends sooner when ranks no longer change.
    """
    values = np.asarray(trajectory, dtype=float)
    mean = values.mean(0)
    amplitudes = np.abs(np.fft.rfft(values - mean, axis=0))
    in_order = np.sort(values - mean, axis=0)
    found = generator.permuted(in_order, axis=0)
    matched = found
    for _ in range(iterations):
        phases = np.angle(np.fft.rfft(found, axis=0))
        matched = np.fft.irfft(amplitudes * np.exp(1j * phases), len(values), axis=0)
        before, found = found, np.take_along_axis(in_order, matched.argsort(0).argsort(0), 0)
        if np.array_equal(before, found):
            break
    return mean + matched


def common_phase_surrogate(trajectory: np.ndarray, *, generator: np.random.Generator) -> np.ndarray:
    """Return a trajectory with all spectra and cross-spectra of the given one, and the same new phases added to all.

    Source: Prichard and Theiler (1994), Physical Review Letters 73, 951-954.

    Args:
        trajectory: Shape (time, coordinate), taken as periodic.
        generator: Of the phases.
    """
    values = np.asarray(trajectory, dtype=float)
    turned = np.fft.rfft(values, axis=0)
    phases = generator.uniform(0, 2 * np.pi, len(turned))
    phases[0] = 0
    if len(values) % 2 == 0:
        phases[-1] = np.pi * generator.integers(2)
    return np.fft.irfft(turned * np.exp(1j * phases)[:, None], len(values), axis=0)


def exceeded_share(value: float, null: np.ndarray) -> float:
    """Return the p-value of a statistic among draws of a null: (1 + how many are as large) / (1 + how many).

    Source: Davison and Hinkley (1997), Bootstrap Methods and their Application, Section 4.2.

    Args:
        value: Of the data.
        null: Shape (draw,), the same statistic of each draw.
    """
    return float((1 + (null >= value).sum()) / (1 + len(null)))
