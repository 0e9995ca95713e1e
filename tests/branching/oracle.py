"""Gaussian regression from a state in the middle of a run, with the exact losses of every branch."""

import math

import numpy as np

CURVATURES = np.geomspace(1.0, 0.05, 8)
NOISE = 0.3  # standard deviation of the labels
MIDDLE = np.full(8, 0.5)  # parameter errors at the checkpoint


class Regression:
    """A training of which every step draws fresh examples x ~ N(0, diag), y = noise; its evaluation is the exact loss."""

    def __init__(self, rate: float, trial: int = 0) -> None:
        self.rate, self.trial = rate, trial
        self.errors = MIDDLE.copy()
        self.draws = np.random.default_rng(0)

    def load(self, seed: int) -> None:
        self.errors = MIDDLE.copy()
        self.draws = np.random.default_rng((self.trial, seed))

    def step(self, batch_size: int, factor: float) -> None:
        inputs = self.draws.normal(size=(batch_size, len(CURVATURES))) * np.sqrt(CURVATURES)
        if not np.isfinite(self.errors).all():
            return
        with np.errstate(over="ignore", invalid="ignore"):
            off = inputs @ self.errors + NOISE * self.draws.normal(size=batch_size)
            self.errors = self.errors - self.rate * factor * (off @ inputs) / batch_size

    def evaluate(self) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            return float(0.5 * (CURVATURES * self.errors**2).sum())


def exact_loss(rate: float, batch_size: int, steps: int) -> float:
    """Return the expected loss after `steps` steps from the checkpoint: the recursion of second moments."""
    moments = MIDDLE**2
    for _ in range(steps):
        spread = CURVATURES * (CURVATURES @ moments) + CURVATURES**2 * moments + NOISE**2 * CURVATURES
        moments = (1 - rate * CURVATURES) ** 2 * moments + rate**2 / batch_size * spread
    return float(0.5 * CURVATURES @ moments) if np.isfinite(moments).all() else math.inf


def bracket(rate: float, batch_size: int, examples: int, early: int, multiples=(1, 2, 4, 8), factors=(0.5, 1.0, 2.0)):
    """Return the multiples between which the critical batch size lies by the exact losses (0 and infinity: beyond)."""
    allowance = min(exact_loss(rate * factor, batch_size, early) for factor in factors)
    over = {
        k: min(exact_loss(rate * k * factor, batch_size * k, examples // (batch_size * k)) for factor in factors)
        - allowance
        for k in multiples
    }
    worse = [k for k, value in over.items() if value > 0]
    first = min(worse, default=math.inf)
    return max((k for k in multiples if k < first), default=0), first
