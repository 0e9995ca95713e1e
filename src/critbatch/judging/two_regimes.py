"""A small and a large batch, trained until the loss ceases to fall, and what their solutions look like.

The protocol of Keskar et al. (2016), arXiv:1609.04836, for their network F1, made small: Adam with the same learning rate
for both, batch normalisation, a large batch of a tenth of the training set. Five layers of 64 units stand for 512, a small
batch of 25 for 256, and 100 epochs for "until the loss function ceased to improve".
"""

import dataclasses

import numpy as np

from ..bed import DIGITS, Bed
from ..budget import Budget
from ..budgets.epochs import Epochs
from ..claim import Exhibit, Scale
from ..finding import TaskFacts
from ..measurement import Measurement
from ..measurements.adaptive_sharpness import AdaptiveSharpness
from ..measurements.curvature import LossCurvature
from ..measurements.distance import DistanceFromStart
from ..measurements.keskar_sharpness import KeskarSharpness
from ..optimizers.adam import Adam
from ..plan import Plan
from ..task import Target
from .pairs import BySeed
from .protocol import runs, seeds
from .reading import Reader, arm_grid

RATE = 1e-3  # Adam's default
SMALL, SHARE = 25, 10  # the small batch size, and how many large batches there are in an epoch
EPOCHS = {"full": 100, "smoke": 4}
MATCHED = {"full": 0.01, "smoke": 1.0}  # training loss at which solutions are compared besides
BUDGET = "equal epochs (100), until both training losses have ceased to fall"
POLICY = "one rate for all: Adam's default, 0.001"


def regime_bed(scale: Scale, norm: str = "batch") -> Bed:
    """Return the bed: five hidden layers; at smoke scale one, on the digits."""
    plain = DIGITS if scale == "smoke" else Bed(hidden=(64,) * 5)
    return dataclasses.replace(plain, norm=norm)


def regime_sizes(facts: TaskFacts) -> tuple[int, int]:
    """Return the small and the large batch size; the small one is at most half of the large one."""
    large = max(1, (facts.train_size or SMALL * SHARE) // SHARE)
    return max(1, min(SMALL, large // 2)), large


def sharpness_of(scale: Scale, normalisation: str = "running") -> tuple[Measurement, ...]:
    """Return what is measured of a solution, at the end of a run: sharpness, curvature, distance from the start."""
    examples = 1000 if scale == "full" else 64
    keskar = KeskarSharpness(examples=examples, normalisation=normalisation, per_decade=0)  # pyrefly: ignore
    if normalisation == "batch":
        return (keskar,)
    return (
        keskar, AdaptiveSharpness(examples=examples, per_decade=0), LossCurvature(examples=examples, per_decade=0),
        DistanceFromStart(per_decade=0),
    )  # fmt: skip


def regime(
    facts: TaskFacts, scale: Scale, batch_size: int, *, rates: tuple[float, ...] = (RATE,), budget: Budget | None = None,
    measurements: tuple[Measurement, ...] = (), target: Target | None = None,
) -> Plan:  # fmt: skip
    """Return the runs at one batch size, with Adam; budget by default `EPOCHS`."""
    return runs(
        facts, batch_sizes=[batch_size], rates=rates, seeds=seeds(scale), budget=budget or Epochs(EPOCHS[scale]),
        optimizer=Adam(), measurements=measurements, target=target,
    )  # fmt: skip


def both(facts: TaskFacts, scale: Scale, names: tuple[str, str] = ("small", "large"), **asked) -> dict[str, Plan]:
    """Return the runs at the small and at the large batch size; see `regime` for what may be asked."""
    return {name: regime(facts, scale, size, **asked) for name, size in zip(names, regime_sizes(facts), strict=True)}


def measured_regimes(facts: TaskFacts, scale: Scale) -> dict[str, Plan]:
    """Return both regimes with `sharpness_of` their ends: the runs that claims about their solutions share."""
    return both(facts, scale, measurements=sharpness_of(scale))


def by_seed(exhibit: Exhibit, arm: str, read: Reader, *, role: str = "main") -> BySeed:
    """Return `read` of an arm of one batch size and learning rate, by seed; nothing where it is missing or not finite."""
    if arm not in exhibit.arms:
        return {}
    grid = arm_grid(exhibit, arm, role=role)
    for size in grid.batch_sizes():
        values = grid.table(size, read)[0]
        return {seed: float(one) for seed, one in zip(grid.seeds, values, strict=True) if np.isfinite(one)}
    return {}


def log_ratios(one: BySeed, other: BySeed) -> np.ndarray:
    """Return log10 of one over other for every seed that has both above 0, shape (seed,)."""
    common = [seed for seed in sorted(one.keys() & other.keys()) if one[seed] > 0 and other[seed] > 0]
    return np.log10([one[seed] / other[seed] for seed in common])
