"""Zhang et al. (2016): networks fit random labels; of linear models SGD finds the smallest that fits, at any batch size."""

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Grid, Track
from ..bed import DIGITS, Bed
from ..budgets.epochs import Epochs
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Part, Scale, Verdict, World
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.parts import LEVEL, accuracy_margin, equivalence, exact, nothing, verdict
from ..judging.protocol import runs, seeds
from ..judging.reading import arm_grid, arm_values, at_end, last
from ..measurements.minimum_norm_distance import MinimumNormDistance
from ..optimizers.sgd import SGD
from ..plan import Plan, Run
from ..statistics.plateau import has_converged

SOURCE = "Zhang, Bengio, Hardt, Recht and Vinyals (2016), arXiv:1611.03530"
FITTED = 0.99  # training accuracy
CLASSES = 10


@final
class RandomLabelsAreFitted(Claim):
    """A network of 512 hidden units and 1,000 images all of whose labels were drawn at random; momentum 0.9.

    The labels were drawn once. So what a fitted network scores on the true labels of the test set scatters about one in
    ten not only by the test set's size, but by the training set's too: a test image is called what some training image
    like it was called. Its standard deviation is taken to be sqrt(0.09 (1/n_train + 1/n_test)) (derived: each test image
    has the label of one training image, of which each serves as many), 0.010. Nearest neighbours' labels, drawn anew a
    hundred times on this bed, scatter by 0.011; the majority of ten neighbours, which fits no labels, by 0.018. So a
    network that has not fitted them is not asked for chance.

    A network that has not fitted the labels, but was still learning when its budget ended, says nothing. The second half
    of the paper's statement, that explicit regularization does not explain why networks generalize, is reported: weight
    decay with the true labels.
    """

    id = "ZHA-1"
    statement = (
        "A network that generalizes with the true labels fits random ones as well, so that its size does not explain why it "
        "generalizes."
    )
    source = SOURCE
    about = "generalization"
    kinds = (Kind.EXACT,)
    budget = "300 epochs"
    policy = "one rate for all, 2^-5 with momentum 0.9"
    published = (
        "CIFAR-10, training and test accuracy in %: network of 1 x 512 with random labels 99.34 and 10.61, with true ones "
        "100 and 50.51, with weight decay 99.80 and 50.39; Inception with random labels 100 and 9.78 (second-hand)"
    )
    why_not_yours = "It needs your task with its labels drawn at random, which only you can make."

    RATE = 2.0**-5
    BATCH = 125
    DECAY = 5e-4
    SIGMAS = 3.0

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        true = Bed(train=1000, hidden=(512,)) if scale == "full" else dataclasses.replace(DIGITS, train=256)
        return {"main": dataclasses.replace(true, random_labels=1.0), "true": true}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        def ask(role: str, decay: float = 0.0) -> Plan:
            return runs(
                facts[role], batch_sizes=[self.BATCH], rates=[self.RATE], seeds=seeds(scale),
                budget=Epochs(300 if scale == "full" else 60), optimizer=SGD(momentum=0.9, weight_decay=decay),
            )  # fmt: skip

        return {"random": ask("main"), "true": ask("true"), "true, decay": ask("true", self.DECAY)}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "random")
        tests = {
            arm: arm_values(exhibit, arm, at_end("test_accuracy"), role="main" if arm == "random" else "true")
            for arm in exhibit.arms
        }
        apart = (
            tests["true, decay"] - tests["true"] if len(tests["true"]) == len(tests["true, decay"]) else np.array([])
        )
        fits = _fits(grid)
        fitted = tests["random"] if fits.outcome is Outcome.SUPPORTED else np.array([])
        parts = [
            fits,
            self._is_chance(fitted, exhibit.facts["main"]),
            equivalence(
                "with true labels weight decay hardly matters", apart, unit="test accuracy", counts=False,
                margin=accuracy_margin(exhibit.facts["true"].test_size),
                definition="test accuracy with true labels, with weight decay less without",
            ),
        ]  # fmt: skip
        notes = [f"test accuracy, {arm}: {values.mean():.4f}" for arm, values in tests.items() if len(values)]
        return verdict(self.id, exhibit, parts, notes=notes)

    def _is_chance(self, tests: np.ndarray, facts: TaskFacts) -> Part:
        name = "its test accuracy is that of chance"
        chance = 1 / CLASSES
        count = 1 / (facts.train_size or 1) + 1 / (facts.test_size or 1)
        allowed = self.SIGMAS * math.sqrt(chance * (1 - chance) * count)
        threshold = f"the mean over seeds within {allowed:.3g} (three standard deviations) of {chance:g}"
        definition = "test accuracy of networks that were trained on random labels, mean over seeds"
        known = tests[np.isfinite(tests)]
        if not len(known):
            return nothing(name, Kind.EXACT, "no labels were fitted", "accuracy", definition, threshold)
        mean = float(known.mean())
        effect = Estimate(mean, None, None, LEVEL, len(known), "accuracy", "mean over seeds", definition)
        return exact(name, holds=abs(mean - chance) <= allowed, effect=effect, threshold=threshold)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        reached = {"true": 1.0, "false": 0.7, "silent": 0.85}[world]  # of the training set
        luck = 0.0095 * generator.normal()  # of labels that are drawn once

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            share = looks / looks[-1]
            way = share if world == "silent" else 1 - np.exp(-20 * share)  # silent: still under way at the end
            if arm != "random":
                test = 0.9 + 0.003 * generator.normal()
                return {"train_loss": 0.01, "train_accuracy": 1.0, "test_accuracy": test}
            fitted = 0.1 + (reached - 0.1) * way + 0.002 * (reached < 1) * generator.normal()
            test = 0.1 + luck + 0.003 * generator.normal()
            return {"train_loss": 2.3 - 2 * way, "train_accuracy": fitted, "test_accuracy": test}

        return values


def _fits(grid: Grid) -> Part:
    """Return whether every seed fits its training set; only seeds that had stopped learning can show that it does not."""
    name = "it fits the random labels"
    definition = "smallest training accuracy of any seed at the end"
    threshold = f"at least {FITTED:g} with every seed; none, and all of them done learning, refutes it"
    tables = [(grid.table(size, last("train_accuracy")), grid.table(size, _is_done)) for size in grid.batch_sizes()]
    values, done = tables[0] if tables else (np.array([[]]), np.array([[]]))
    if not values.size or not np.isfinite(values).all():
        return nothing(name, Kind.EXACT, "a run is missing or diverged", "accuracy", definition, threshold)
    outcome = Outcome.INCONCLUSIVE
    if (values >= FITTED).all():
        outcome = Outcome.SUPPORTED
    elif (values < FITTED).all() and done.all():
        outcome = Outcome.REFUTED
    effect = Estimate(
        float(values.min()), None, None, LEVEL, values.size, "accuracy", "smallest over seeds", definition
    )  # fmt: skip
    return Part(name, Kind.EXACT, outcome, effect, threshold)


def _is_done(track: Track) -> float:
    values = track.values.get("train_accuracy")
    return float(values is not None and has_converged(track.step, values, "above"))


@final
class SmallestSolution(Claim):
    """Least squares with fewer examples than inputs, without bias, from zero, in double precision: a negative control.

    Every step is a sum of training inputs, so that the weights stay in their span, in which one point alone fits the
    data. A registry that found an effect of the batch size here would be wrong. From the usual start, which is not in the
    span, training must end elsewhere: that is reported, to show that the measurement can see it.

    Targets are one-hot digits, the loss is the mean over ten outputs. Rates and lengths come from the eigenvalues of the
    inputs' second moments and pilot runs with other seeds.
    """

    id = "ZHA-2"
    statement = "In linear models SGD from zero finds the smallest solution that fits the data, at any batch size."
    source = SOURCE + ", Section 5"
    about = "generalization"
    kinds = (Kind.EXACT,)
    budget = "until the relative residual is 1e-8: 25,000 steps, 60,000 of single examples"
    policy = "one rate for each batch size, about half of the largest stable one"
    published = "follows from the gradient's form; batch sizes are not compared (paper)"
    why_not_yours = "It needs a linear model without bias, with more inputs than examples, that starts at zero."

    RESIDUAL = 1e-8
    DISTANCE = 1e-3
    SETTINGS: ClassVar[Mapping[Scale, Mapping[int, tuple[float, int]]]] = {  # rate and steps, by batch size
        "full": {1: (0.01, 60_000), 16: (0.03, 25_000), 64: (0.03, 25_000)},
        "smoke": {1: (1.5, 1500), 4: (4.0, 600), 8: (6.0, 400)},
    }

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        plain = {"hidden": (), "loss": "squared_error", "bias": False}
        zero = (
            Bed(train=64, side=28, start=0.0, **plain)
            if scale == "full"
            else dataclasses.replace(DIGITS, train=8, start=0.0, **plain)
        )
        return {"main": zero, "usual start": dataclasses.replace(zero, start=1.0)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        def ask(role: str, size: int) -> Plan:
            rate, steps = self.SETTINGS[scale][size]
            plan = runs(
                facts[role], batch_sizes=[size], rates=[rate], seeds=seeds(scale), budget=Steps(steps),
                measurements=(MinimumNormDistance(),),
            )  # fmt: skip
            return Plan(tuple(dataclasses.replace(run, dtype="float64") for run in plan.runs))

        small, middle, whole = self.SETTINGS[scale]
        found = ask("main", small) + ask("main", middle) + ask("main", whole)
        return {"zero": found, "usual start": ask("usual start", middle)}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "zero")
        wanted = sorted({run.batch_size for run in exhibit.arms["zero"]})
        parts = [self._part(grid, size, f"at batch size {size} it is the smallest solution") for size in wanted]
        control = arm_grid(exhibit, "usual start", role="usual start")
        for size in control.batch_sizes():
            found = self._part(control, size, f"(control) from the usual start it is another, batch size {size}")
            turned = {Outcome.SUPPORTED: Outcome.REFUTED, Outcome.REFUTED: Outcome.SUPPORTED}
            outcome = turned.get(found.outcome, found.outcome)
            threshold = f"each at least {self.DISTANCE:g} of its norm away, at a relative residual of {self.RESIDUAL:g}"
            parts.append(dataclasses.replace(found, outcome=outcome, threshold=threshold, counts=False))
        sizes = grid.batch_sizes()
        rows = [grid.table(size, last("minimum_norm_distance"))[0] for size in sizes]
        drawn = (line("from zero", sizes, np.stack(rows, 1), logarithmic=True),) if rows else ()
        figure = Figure("batch size", "distance from the smallest solution, relative", drawn, log_y=True)
        return verdict(self.id, exhibit, parts, figure=figure)

    def _part(self, grid: Grid, size: int, name: str) -> Part:
        """Return whether all runs of a batch size that fit the data are the smallest solution; open if some do not fit."""
        definition = "largest |W - W*|/|W*| of any seed, W* the least-squares solution of the smallest norm"
        threshold = f"each below {self.DISTANCE:g}, at a relative residual of {self.RESIDUAL:g} at most"
        distances, residuals = (
            grid.table(size, last(name)).ravel() if size in grid.tracks else np.array([])
            for name in ("minimum_norm_distance", "relative_residual")
        )
        fits = residuals <= self.RESIDUAL
        if not fits.any():
            return nothing(name, Kind.EXACT, "no run fits the data", "", definition, threshold)
        furthest = float(distances[fits].max())
        outcome = Outcome.INCONCLUSIVE
        if furthest >= self.DISTANCE:
            outcome = Outcome.REFUTED
        elif fits.all():
            outcome = Outcome.SUPPORTED
        effect = Estimate(furthest, None, None, LEVEL, int(fits.sum()), "", "largest over seeds", definition)
        return Part(name, Kind.EXACT, outcome, effect, threshold)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        end = 1e-4 if world == "silent" else 1e-10

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            residual = np.exp(np.log(end) * looks / looks[-1]) * np.exp(0.2 * generator.normal())
            away = 0.9 if arm != "zero" else 0.02 if world == "false" and run.batch_size == 1 else 0.0
            return {
                "train_loss": residual**2, "relative_residual": residual,
                "minimum_norm_distance": np.hypot(4 * residual, away),
            }  # fmt: skip

        return values
