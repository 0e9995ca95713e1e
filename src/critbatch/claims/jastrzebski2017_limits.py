"""Jastrzebski et al. (2017): what a higher ratio of rate and batch size memorizes, and where the ratio ceases to decide."""

import dataclasses
from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Track
from ..bed import DIGITS, Bed
from ..budgets.epochs import Epochs
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Line, Outcome, Part, Scale, Verdict, World
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.parts import LEVEL, band, nothing, slope_estimate, slopes_by_seed, verdict
from ..judging.protocol import runs, seeds
from ..judging.reading import arm_grid, at_end
from ..measurements.memorized import Memorized
from ..plan import Plan, Run
from ..statistics.resampling import drawn_weights, expanded_interval

SOURCE = "Jastrzebski, Kenton, Arpit, Ballas, Fischer, Bengio and Storkey (2017), arXiv:1711.04623"


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
DRAWS = 2000  # of a bootstrap


@final
class InvarianceBreaksEarlierForSmallSets(Claim):
    """The factor on batch size and learning rate at which a point of test accuracy is lost, over the training set's size.

    Of the mean over seeds; between factors it is interpolated, in log factor. Where no point is lost the largest factor
    counts; at large training sets, where that is likeliest, it makes the trend smaller than it is. The interval is of a
    bootstrap over seeds.
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
        tests = {float(facts.train_size or 1): _tests(exhibit, role) for role, facts in exhibit.facts.items()}
        sizes = np.array(sorted(tests))
        count = min(len(one) for one in tests.values())
        told = {
            "unit": "exponent",
            "definition": "slope of log2 factor at which a point is lost on log2 training examples",
        }
        name, threshold = "it breaks later for larger training sets", "95% interval above 0; below it refutes it"
        if count < 2:
            part = nothing(name, Kind.TREND, "fewer than two seeds have every factor", threshold=threshold, **told)
            return verdict(self.id, exhibit, [part])
        weights = drawn_weights(count, DRAWS, np.random.default_rng(0))
        table = np.stack([_breaks(weights @ tests[size][:count] / count, exhibit.scale) for size in sizes], 1)
        slopes = slopes_by_seed(np.log2(sizes), table)
        low, high = expanded_interval(slopes[1:], count=count)
        slope = Estimate(
            float(slopes[0]), low, high, LEVEL, count, told["unit"], "bootstrap over seeds", told["definition"]
        )
        outcome = Outcome.SUPPORTED if low > 0 else Outcome.REFUTED if high < 0 else Outcome.INCONCLUSIVE
        part = Part(name, Kind.TREND, outcome, slope, threshold)
        notes = [
            f"{size:,.0f} examples: breaks at a factor of {2**place:.3g}"
            for size, place in zip(sizes, table[0], strict=True)
        ]
        ends = [expanded_interval(column[1:], count=count) for column in table.T]
        points = tuple(
            (float(size), 2**least, float(2**place), 2**most)
            for size, place, (least, most) in zip(sizes, table[0], ends, strict=True)
        )
        lines = (Line("a point of accuracy lost", points),)
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


def _tests(exhibit: Exhibit, role: str) -> np.ndarray:
    """Return the test accuracy at each factor, shape (seed, factor), of seeds that trained at factor 1; 0 if one diverged."""
    grid = arm_grid(exhibit, role, role=role)
    wanted = [BASE[0] * factor for factor in GROWN[exhibit.scale]]
    if grid.batch_sizes() != wanted:
        return np.empty((0, len(wanted)))
    found = np.stack([grid.table(size, at_end("test_accuracy"))[0] for size in wanted], 1)
    return np.nan_to_num(found[np.isfinite(found[:, 0])], nan=0.0)


def _breaks(tests: np.ndarray, scale: Scale) -> np.ndarray:
    """Return log2 of the factor at which each row has lost a point, shape (row,); the largest factor where none has.

    Rows are means over seeds: single seeds scatter more with small training sets, and would seem to break earlier.
    """
    lost, logs = tests[:, :1] - tests, np.log2(GROWN[scale])
    found = np.full(len(lost), logs[-1])
    for row, values in enumerate(lost):
        beyond = np.flatnonzero(values >= DROP)
        if len(beyond):
            first = int(beyond[0])
            found[row] = np.interp(DROP, values[first - 1 : first + 1], logs[first - 1 : first + 1])
    return found
