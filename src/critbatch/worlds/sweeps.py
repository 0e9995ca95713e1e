"""Made-up sweeps whose truth is planted: a hyperbola in the batch size, a valley in the learning rate, noise by seed."""

from dataclasses import dataclass
from typing import final

import numpy as np

SIZES = (1, 4, 16, 64, 256, 1024)


@final
@dataclass(frozen=True)
class SweepWorld:
    """What is true.

    Attributes:
        s_min: In steps.
        e_min: In examples.
        exponent: Of the best learning rate against the batch size.
        curvature: Of log steps in log learning rate.
        skew: Log steps per octave cubed on the side of large learning rates, where training is about to diverge.
        noise: Standard deviation of log steps over seeds.
        shared: Share of the noise's amplitude that a seed has in common at every batch size and learning rate.
        sizes: Batch sizes tried.
        rates: Learning rates tried at each batch size, a factor of 2 apart, the best one near the middle.
        seeds: Paired.
        budget: Steps after which runs stop: those that have not arrived are censored.
    """

    s_min: float = 20.0
    e_min: float = 2000.0
    exponent: float = 0.7
    curvature: float = 0.35
    skew: float = 0.02
    noise: float = 0.2
    shared: float = 0.5
    sizes: tuple[int, ...] = SIZES
    rates: int = 7
    seeds: int = 5
    budget: float = np.inf

    @property
    def critical_batch_size(self) -> float:
        """Return E_min/S_min."""
        return self.e_min / self.s_min

    def best_rates(self) -> np.ndarray:
        """Return the best learning rate of each batch size, shape (size,)."""
        return 0.1 * np.array(self.sizes, dtype=float) ** self.exponent

    def draw(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return one sweep: learning rates (size, rate), log steps (size, rate, seed), and whether each arrived.

        The steps of a run that did not arrive are the budget. The grid's place about the best learning rate is drawn
        too: no experimenter knows it.
        """
        steps = self.s_min + self.e_min / np.array(self.sizes, dtype=float)
        offset = generator.uniform(-0.5, 0.5, (len(self.sizes), 1))
        octaves = np.arange(self.rates) - self.rates // 2 + offset
        rates = self.best_rates()[:, None] * 2.0**octaves
        height = self.curvature * (np.log(2) * octaves) ** 2 + self.skew * np.maximum(octaves, 0) ** 3
        common = generator.normal(size=self.seeds)
        own = generator.normal(size=(*height.shape, self.seeds))
        noise = self.noise * (self.shared * common + (1 - self.shared**2) ** 0.5 * own)
        logs = np.log(steps)[:, None, None] + height[..., None] + noise
        arrived = logs <= np.log(self.budget) if np.isfinite(self.budget) else np.ones(logs.shape, dtype=bool)
        return rates, np.where(arrived, logs, np.log(self.budget)), arrived
