"""Choices of made-up sweeps, as the analysis would make them from runs."""

import numpy as np

from ..worlds.sweeps import SweepWorld
from .choice import Choice, choice_of


def choices_of(world: SweepWorld, generator: np.random.Generator) -> dict[int, Choice]:
    """Return the learning rate choices of one sweep drawn from `world`."""
    rates, logs, arrived = world.draw(generator)
    scores, bounds = np.where(arrived, logs, np.inf), np.where(arrived, np.nan, logs)
    return {size: choice_of(rates[at], scores[at], bounds[at]) for at, size in enumerate(world.sizes)}
