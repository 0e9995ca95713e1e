"""Linear regression on Gaussian inputs: SGD on it has exact expected losses, so that every step of an analysis can be held
to the truth.
"""

from dataclasses import dataclass
from typing import final

import numpy as np


@final
@dataclass(frozen=True)
class GaussianRegression:
    """Inputs N(0, diag(spectrum)), targets with normal label noise, SGD with a fresh sample at every step.

    Source: derived. With m_i = E[e_i^2] of the parameter errors, one step of plain SGD gives exactly
    m_i' = (1 - eta l_i)^2 m_i + (eta^2/B)(l_i sum_j l_j m_j + l_i^2 m_i + s^2 l_i), and the excess loss is
    L = 1/2 sum_i l_i m_i. Tested against simulation.

    Attributes:
        spectrum: l, variances of the inputs.
        label_noise: s, standard deviation of the targets.
        start: e at the start, the same for all parameters.
        target: Excess loss that counts as arrived, as a share of the one at the start.
    """

    spectrum: tuple[float, ...] = tuple(1 / (1 + index / 8) for index in range(80))
    label_noise: float = 0.1
    start: float = 1.0
    target: float = 0.03

    def expected_losses(self, batch_size: int, rates: np.ndarray, steps: int) -> np.ndarray:
        """Return the exact expected excess loss, shape (rate, step + 1), before the first step and after each one."""
        spectrum = np.array(self.spectrum)
        rate = np.asarray(rates, dtype=float)[:, None]
        moments = np.full((len(rates), len(spectrum)), self.start**2)
        found = [0.5 * moments @ spectrum]
        with np.errstate(over="ignore", invalid="ignore"):
            for _ in range(steps):
                noise = (
                    spectrum * (moments @ spectrum)[:, None] + spectrum**2 * moments + self.label_noise**2 * spectrum
                )
                moments = (1 - rate * spectrum) ** 2 * moments + rate**2 / batch_size * noise
                found.append(0.5 * moments @ spectrum)
        return np.stack(found, axis=-1)

    def steps_to_target(self, batch_size: int, rates: np.ndarray, steps: int) -> np.ndarray:
        """Return at which step the expected loss passes the target, interpolated in log steps; infinite if it does not."""
        losses = self.expected_losses(batch_size, rates, steps)
        goal = self.target * losses[:, 0]
        found = np.full(len(rates), np.inf)
        for row, (values, wanted) in enumerate(zip(losses, goal, strict=True)):
            past = np.flatnonzero(values <= wanted)
            if len(past):
                after = past[0]
                share = (values[after - 1] - wanted) / (values[after - 1] - values[after])
                found[row] = after - 1 + share if after == 1 else (after - 1) * (after / (after - 1)) ** share
        return found

    def simulate(
        self, batch_size: int, rates: np.ndarray, seeds: int, looks: np.ndarray, generator: np.random.Generator
    ) -> np.ndarray:
        """Return excess losses of real SGD runs, shape (rate, seed, look), every step on fresh examples.

        Args:
            batch_size: Examples in a step.
            rates: Shape (rate,).
            seeds: Runs for each rate; a seed's examples are the same for all rates.
            looks: Shape (look,), steps at which the loss is read, ascending from 0.
            generator: Of all draws.
        """
        spectrum = np.array(self.spectrum)
        errors = np.full((len(rates), seeds, len(spectrum)), self.start)
        rate = np.asarray(rates, dtype=float)[:, None, None]
        found, wanted = [], set(looks.tolist())
        with np.errstate(over="ignore", invalid="ignore"):
            for step in range(int(looks[-1]) + 1):
                if step in wanted:
                    found.append(0.5 * errors**2 @ spectrum)
                inputs = generator.standard_normal((seeds, batch_size, len(spectrum))) * spectrum**0.5
                labels = self.label_noise * generator.standard_normal((seeds, batch_size))
                wrong = np.einsum("sbd,rsd->rsb", inputs, errors) - labels
                errors = errors - rate * np.einsum("rsb,sbd->rsd", wrong, inputs) / batch_size
        return np.stack(found, axis=-1)
