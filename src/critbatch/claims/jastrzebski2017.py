"""Jastrzebski et al. (2017): learning rate over batch size decides where SGD ends."""

import dataclasses
from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Track
from ..bed import DIGITS, Bed
from ..budgets.epochs import Epochs
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.parts import band, equivalence, slope_estimate, verdict
from ..judging.protocol import runs, seeds
from ..judging.reading import arm_grid, at_end, last
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
from ..measurements.memorized import Memorized
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
class Exponents:
    """Of the learning rate and of the batch size, one pair for each seed, shape (seed,)."""

    rate: np.ndarray
    size: np.ndarray


def exponents(rates: np.ndarray, sizes: np.ndarray, values: np.ndarray) -> Exponents:
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
    return Exponents(table[:, 0], table[:, 1])


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


NOISES = (0.25, 0.5)  # share of labels drawn at random
FRACTION = 0.2  # memorized
MEMORY = {"full": ((0.05, 0.1, 0.2), (20, 50, 100, 200), 200), "smoke": ((0.25, 1.0), (16, 128), 4)}


@final
class HigherRatioMemorizesLess(Claim):
    """Test accuracy where a fifth of the examples with drawn labels is given just these labels.

    Chance gives a tenth of them. Runs that do not come so far within 200 epochs are left out and counted: they memorize
    least, so that leaving them out is against the claim.
    """

    id = "JAS-3"
    statement = (
        "At an equal share of memorized labels, a higher ratio of learning rate and batch size generalizes better."
    )
    source = SOURCE
    about = "generalization"
    kinds = (Kind.TREND,)
    budget = "until a fifth of the random labels is memorized, at most 200 epochs"
    policy = "a grid of fixed rates, three for each of four batch sizes"
    published = "figures alone: MNIST, 256 hidden units, 25 and 50 % random labels, rates .05 to .2 (paper)"
    why_not_yours = "It needs your task with a share of its labels drawn at random, which only you can make."

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        plain = Bed(hidden=(256,)) if scale == "full" else DIGITS
        low, high = (dataclasses.replace(plain, random_labels=noise) for noise in NOISES)
        return {"main": low, "more": high}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        rates, sizes, epochs = MEMORY[scale]
        return {
            role: runs(
                facts[role], batch_sizes=sizes, rates=rates, seeds=seeds(scale), budget=Epochs(epochs),
                measurements=(Memorized(noise),),
            )
            for role, noise in zip(("main", "more"), NOISES, strict=True)
        }  # fmt: skip

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        parts, lines, notes = [], [], []
        for role, noise in zip(("main", "more"), NOISES, strict=True):
            grid = arm_grid(exhibit, role, role=role)
            ratios = np.array([rate / size for size in grid.batch_sizes() for rate in grid.rates(size)])
            tables = [grid.table(size, _test_where_memorized) for size in grid.batch_sizes()]
            values = np.concatenate(tables).T if tables else np.empty((0, 0))
            slope = slope_estimate(
                np.log2(ratios), values, unit="test accuracy per doubling",
                definition="slope on log2 (learning rate / batch size) where a fifth is memorized",
            )  # fmt: skip
            parts.append(band(f"with {noise:.0%} random labels", slope, 0.0, np.inf))
            if values.size and np.isfinite(values).any():
                order = np.argsort(ratios, kind="stable")
                lines.append(line(f"{noise:.0%} random labels", ratios[order].tolist(), values[:, order]))
            notes.append(
                f"{noise:.0%}: runs that memorized less than a fifth: {np.isnan(values).sum()} of {values.size}"
            )
        figure = Figure("learning rate over batch size", "test accuracy", tuple(lines))
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        slope, noise = -0.002 if world == "false" else 0.003, 0.2 if world == "silent" else 0.006

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            test = 0.85 + slope * np.log2(run.learning_rate / run.batch_size * 500) + noise * generator.normal()
            return {"memorized": 0.1 + 0.6 * looks / looks[-1], "test_accuracy": test, "train_loss": 0.5}

        return values


def _test_where_memorized(track: Track) -> float:
    """Return the test accuracy where the memorized share first reaches a fifth; NaN where it does not."""
    shares, tests = track.values.get("memorized"), track.values.get("test_accuracy")
    if shares is None or tests is None or not track.completed:
        return np.nan
    seen = np.isfinite(shares) & (track.step > 0)
    shares, tests = shares[seen], tests[seen]
    beyond = np.flatnonzero(shares >= FRACTION)
    if not len(beyond):
        return np.nan
    first = int(beyond[0])
    if first == 0:
        return float(tests[0])
    share = (FRACTION - shares[first - 1]) / (shares[first] - shares[first - 1])
    return float(tests[first - 1] + share * (tests[first] - tests[first - 1]))


TRAINED = {"full": (500, 1000, 2000, 4000, 8000), "smoke": (256, 1024)}  # examples
BASE = (16, 0.25)  # batch size and learning rate at factor 1
GROWN = {"full": (1, 2, 4, 8, 16), "smoke": (1, 16)}
DROP = 0.01  # of the test accuracy


@final
class InvarianceBreaksEarlierForSmallSets(Claim):
    """The factor on batch size and learning rate at which a point of test accuracy is lost, over the training set's size.

    Between factors it is interpolated, in log factor. A run that never loses a point counts with the largest factor; at
    large training sets, where that is likeliest, it makes the trend smaller than it is.
    """

    id = "JAS-4"
    statement = "That only the ratio counts breaks down at large batch sizes, and earlier for small training sets."
    source = SOURCE
    about = "optimization"
    kinds = (Kind.TREND,)
    budget = "equal epochs (30)"
    policy = "fixed: 0.25 at batch size 16, then in proportion to the batch size"
    published = "figures alone: VGG-11 on 12,000, 22,500 and 45,000 images of CIFAR-10 (paper)"
    why_not_yours = "It needs your task with training sets of several sizes."

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        plain = Bed() if scale == "full" else DIGITS
        beds = {str(size): dataclasses.replace(plain, train=size) for size in TRAINED[scale]}
        return {"main": beds.pop(str(TRAINED[scale][0]))} | beds

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        size, rate = BASE
        return {
            role: sum(
                (
                    runs(one, batch_sizes=[size * factor], rates=[rate * factor], seeds=seeds(scale),
                         budget=Epochs(30 if scale == "full" else 4))
                    for factor in GROWN[scale]
                ),
                Plan(()),
            )
            for role, one in facts.items()
        }  # fmt: skip

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        breaks = {float(facts.train_size or 1): _breaks(exhibit, role) for role, facts in exhibit.facts.items()}
        sizes = np.array(sorted(breaks))
        common = sorted(set.intersection(*(set(one) for one in breaks.values())))
        table = np.array([[breaks[size][seed] for size in sizes] for seed in common]).reshape(len(common), len(sizes))
        told = {
            "unit": "exponent",
            "definition": "slope of log2 factor at which a point is lost on log2 training examples",
        }
        part = band(
            "it breaks later for larger training sets", slope_estimate(np.log2(sizes), table, **told), 0.0, np.inf
        )
        most = np.log2(max(GROWN[exhibit.scale]))
        notes = [f"{size:,.0f} examples: breaks at a factor of {2 ** column.mean():.3g}, never with {(column >= most).sum()} "
                 f"of {len(column)} seeds" for size, column in zip(sizes, table.T, strict=True) if len(column)]  # fmt: skip
        lines = (line("a point of accuracy lost", sizes.tolist(), 2**table, logarithmic=True),) if table.size else ()
        figure = Figure("training examples", "factor on batch size and learning rate", lines, log_y=True)
        return verdict(self.id, exhibit, [part], figure=figure, notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        power, noise = -0.7 if world == "false" else 0.7, 0.2 if world == "silent" else 0.002
        base = self.beds("full")

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            breaks = 8 * (base[arm].train / 2000) ** power
            lost = DROP * (run.batch_size / BASE[0] / breaks) ** 1.5
            return {"test_accuracy": 0.9 - min(lost, 0.5) + noise * generator.normal(), "train_loss": 0.1}

        return values


def _breaks(exhibit: Exhibit, role: str) -> dict[int, float]:
    """Return log2 of the factor at which each seed has lost a point of accuracy."""
    grid = arm_grid(exhibit, role, role=role)
    sizes = grid.batch_sizes()
    if len(sizes) < 2 or sizes[0] != BASE[0]:
        return {}
    tests = np.stack([grid.table(size, at_end("test_accuracy"))[0] for size in sizes], 1)
    logs = np.log2(np.array(sizes) / sizes[0])
    found = {}
    for seed, row in zip(grid.seeds, tests, strict=True):
        lost = np.nan_to_num(row[0] - row, nan=1.0)  # a run that diverged has lost everything
        beyond = np.flatnonzero(lost >= DROP)
        if np.isfinite(row[0]):
            first = int(beyond[0]) if len(beyond) else len(logs)
            found[seed] = float(logs[-1]) if first == len(logs) else float(
                np.interp(DROP, lost[first - 1 : first + 1], logs[first - 1 : first + 1])
            )  # fmt: skip
    return found
