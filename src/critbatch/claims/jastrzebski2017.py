"""Jastrzebski et al. (2017): learning rate over batch size decides where SGD ends."""

import dataclasses
from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Track
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.parts import band, equivalence, verdict
from ..judging.protocol import runs, seeds
from ..judging.reading import arm_grid, last
from ..judging.same_ratio import (
    BUDGET,
    FACTORS,
    POLICY,
    by_curves,
    first_row,
    made_up_ratio,
    places_of,
    ratio_arms,
    same_curves,
    same_ends,
)  # fmt: skip
from ..measurements.curvature import LossCurvature
from ..plan import Plan, Run
from ..statistics.means import mean_estimate
from ..task import Target

SOURCE = "Jastrzebski, Kenton, Arpit, Ballas, Fischer, Bengio and Storkey (2017), arXiv:1711.04623"
EIGENVALUE = "hessian_largest_eigenvalue"
GRID = {
    "full": ((2.0**-4, 2.0**-3, 2.0**-2, 2.0**-1), (8, 16, 32, 64, 128)),
    "smoke": ((0.25, 1.0), (16, 64)),
}  # learning rates, batch sizes
LOSS = {"full": 0.01, "smoke": 0.5}
MOST = {"full": 40_000, "smoke": 400}  # steps
EXPONENT_MARGIN = 0.1


@final
@dataclasses.dataclass(frozen=True, eq=False)
class _Exponents:
    """Of the learning rate and of the batch size, one pair for each seed, shape (seed,)."""

    rate: np.ndarray
    size: np.ndarray


def exponents(rates: np.ndarray, sizes: np.ndarray, values: np.ndarray) -> _Exponents:
    """Return least-squares a and b of log value = c + a log rate + b log size, for every seed with four points or more.

    Args:
        rates: Shape (point,).
        sizes: Shape (point,).
        values: Shape (seed, point), above 0; NaN where a run is missing.
    """
    found = []
    for row in values:
        kept = np.isfinite(row) & (row > 0)
        design = np.column_stack([np.ones(kept.sum()), np.log(rates[kept]), np.log(sizes[kept])])
        if kept.sum() > 3 and np.linalg.matrix_rank(design) == 3:
            found.append(np.linalg.lstsq(design, np.log(row[kept]), rcond=None)[0][1:])
    table = np.array(found).reshape(-1, 2)
    return _Exponents(table[:, 0], table[:, 1])


@final
class RatioSetsWidth(Claim):
    """Solutions at one training loss, 0.01: the Hessian's largest eigenvalue over a grid of rates and batch sizes.

    "The ratio alone" is tested as an equivalence: exponents that add up to 0 within 0.1.
    """

    id = "JAS-1"
    statement = "The ratio of learning rate and batch size sets the width of the minimum in which SGD ends."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.TREND, Kind.EQUIVALENCE)
    budget = "to a training loss of 0.01"
    policy = "a grid of fixed rates, four for each of five batch sizes"
    published = "figures alone: Fashion-MNIST, 20 layers, rates .005 to .05, batches of 50 to 1,000 (paper)"
    why_not_yours = "It compares solutions at a training loss of 0.01, which a task of your own may never reach."

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        rates, sizes = GRID[scale]
        measured = (LossCurvature(examples=1000 if scale == "full" else 64, per_decade=0),)
        return {
            "grid": runs(
                facts["main"], batch_sizes=sizes, rates=rates, seeds=seeds(scale), budget=Steps(MOST[scale]),
                measurements=measured, target=Target("train_loss", LOSS[scale], "below"),
            )
        }  # fmt: skip

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "grid")
        cells = [(rate, size) for size in grid.batch_sizes() for rate in grid.rates(size)]
        tables = [grid.table(size, _at_target) for size in grid.batch_sizes()]
        values = np.concatenate(tables).T if tables else np.empty((0, 0))
        rates, sizes = np.array(cells, dtype=float).reshape(-1, 2).T
        found = exponents(rates, sizes, values)
        told = {"unit": "exponent", "definition": "of the largest eigenvalue at a training loss of 0.01"}
        parts = [
            band("it falls with the learning rate", _mean(found.rate, **told), -np.inf, 0.0),
            band("it rises with the batch size", _mean(found.size, **told), 0.0, np.inf),
            equivalence("it depends on their ratio alone: the exponents add up to 0", found.rate + found.size,
                        margin=EXPONENT_MARGIN, **told),
        ]  # fmt: skip
        lines = tuple(
            line(
                f"batch size {size}",
                (grid.rates(size) / size).tolist(),
                grid.table(size, _at_target).T,
                logarithmic=True,
            )
            for size in grid.batch_sizes()
        )
        figure = Figure("learning rate over batch size", "largest eigenvalue", lines, log_y=True)
        missing = f"runs that did not reach the loss: {np.isnan(values).sum()} of {values.size}"
        return verdict(self.id, exhibit, parts, figure=figure, notes=[missing])

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        power = 0.0 if world == "false" else 0.4
        noise = 1.2 if world == "silent" else 0.2

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            log = -0.4 * np.log(run.learning_rate) + power * np.log(run.batch_size)
            return {EIGENVALUE: 10 * np.exp(log + noise * generator.normal()), "train_loss": 0.009}

        return values


def _mean(values: np.ndarray, *, unit: str, definition: str):
    return mean_estimate(values, unit=unit, definition=definition)


def _at_target(track: Track) -> float:
    """Return the eigenvalue of a run that reached the loss; NaN of any other, which is at another loss."""
    reached = track.ending.name == "TARGET" or track.values["train_loss"][-1] <= LOSS["full"]
    return last(EIGENVALUE)(track) if reached else np.nan


@final
class SameRatioSameDynamics(Claim):
    """Factors of 1/4, 1 and 4 on both. Curves are compared at equal epochs, from the first epoch on.

    At four times the best rate training may not be stable, whatever the batch size. So the same is reported for an eighth
    of that rate.
    """

    id = "JAS-2"
    statement = (
        "With the same ratio of learning rate and batch size, training curves over epochs and the test are the same."
    )
    source = SOURCE
    about = "optimization"
    kinds = (Kind.EQUIVALENCE, Kind.DIRECTION)
    budget = BUDGET
    policy = POLICY
    published = "figures alone: VGG-11 and ResNet-56 on CIFAR-10, factors 1/4, 1 and 4 (paper)"

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return first_row(facts["main"], scale)

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        return ratio_arms(exhibit)

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        lines = tuple(
            line(f"factor {factor:g}", places_of(exhibit.scale).tolist(), np.exp(np.stack(list(curves.values()))), logarithmic=True)
            for factor in FACTORS
            if (curves := by_curves(exhibit, factor))
        )  # fmt: skip
        figure = Figure("epochs", "training loss", lines, log_y=True)
        parts = [*same_ends(exhibit), *same_curves(exhibit)]
        return verdict(self.id, exhibit, parts, figure=figure)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        return made_up_ratio(world, generator)
