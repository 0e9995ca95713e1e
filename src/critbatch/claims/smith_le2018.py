"""Smith and Le (2018): at a fixed learning rate there is a best batch size, in proportion to rate and training set."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Grid
from ..bed import Bed
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Part, Scale, Verdict, World
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.fixed_rate import BUDGET, FEWER, FIXED, MOMENTUM, RATE, UPDATES, bed_of, by_halves, metrics, swept
from ..judging.parts import LEVEL, accuracy_margin, direction, equivalence, nothing, slopes_by_seed, verdict
from ..judging.protocol import runs, seeds
from ..judging.reading import arm_grid, at_end
from ..judging.scaled import turned
from ..plan import Plan, Run
from ..statistics.resampling import drawn_weights, expanded_interval
from ..statistics.valley import valley

SOURCE = "Smith and Le (2018), arXiv:1710.06451"
DRAWS = 2000  # of a bootstrap
BLUR = 0.01  # of the weights with which a parabola is fitted, in test accuracy


@final
class InteriorOptimum(Claim):
    """The best batch size between the ends, chosen for each half of the seeds by the validation metric of the other half.

    The smallest batch that counts is the smallest with which every seed learns.
    """

    id = "SL-1"
    statement = "At a fixed learning rate some batch size between the smallest and the whole training set tests best."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.DIRECTION,)
    budget = "equal updates (4,000)"
    policy = FIXED
    published = ""

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": bed_of(scale)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"fixed": swept(facts["main"], scale, UPDATES[scale])}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "fixed")
        facts = grid.facts
        sizes, tests = metrics(grid, "test")
        known, chosen = metrics(grid, facts.selection_split)
        common = sorted(set(sizes) & set(known))
        tests = tests[:, [sizes.index(size) for size in common]]
        sizes, chosen = common, chosen[:, [known.index(size) for size in common]]
        best = by_halves(chosen[:, 1:-1], tests[:, 1:-1]) if len(sizes) > 2 else np.array([])
        told = {
            "unit": f"test {facts.metric}", "margin": accuracy_margin(facts.test_size),
            "definition": f"test {facts.metric} of the best batch size in between less that of the end",
        }  # fmt: skip
        parts = [
            direction("it beats the largest batch", best - tests[:, -1] if len(best) else best, **told),
            direction("it beats the smallest batch that trains", best - tests[:, 0] if len(best) else best, **told),
        ]
        lines = (line(f"learning rate {RATE:g}", sizes, turned(facts) * tests),) if sizes else ()
        notes = (
            [f"smallest batch size that trains: {sizes[0]}; best on average: {sizes[int(tests.mean(0).argmax())]}"]
            if sizes
            else []
        )
        figure = Figure("batch size", f"test {facts.metric}", lines)
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        best = 0.0 if world == "false" else 5.0  # log2: the smallest is best in the false world
        return _made_up(world, generator, lambda arm, run: best)


def _made_up(world: World, generator: np.random.Generator, place) -> Imagined:
    noise = 0.06 if world == "silent" else 0.002
    of_seed = generator.normal(size=64)

    def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
        lost = 0.0015 * (np.log2(run.batch_size) - place(arm, run)) ** 2
        test = 0.9 - lost + noise * (of_seed[run.seed] + generator.normal())
        return {"test_accuracy": test, "validation_accuracy": test, "train_loss": np.where(looks > 0, 0.01, 2.3)}

    return values


Curve = tuple[list[int], np.ndarray]  # batch sizes, and the metric there, shape (seed, batch size)


def is_resolved(curve: Curve) -> bool:
    """Return whether some batch size inside tests better than both ends: 95 % intervals, chosen by the other seeds."""
    sizes, tests = curve
    if len(sizes) < 3 or len(tests) < 2:
        return False
    best = by_halves(tests[:, 1:-1], tests[:, 1:-1])
    told = {"unit": "", "definition": ""}
    return all(direction("", best - tests[:, end], **told).outcome is Outcome.SUPPORTED for end in (0, -1))


def best_sizes(curve: Curve, weights: np.ndarray) -> np.ndarray:
    """Return log2 of the batch size that tests best, by weights of seeds: a parabola through the points near it.

    Args:
        curve: Three batch sizes or more.
        weights: Shape (draw, seed).
    """
    sizes, tests = curve
    means = weights @ tests / weights.sum(1, keepdims=True)
    return valley(np.log2(sizes), means.max(1, keepdims=True) - means, width=BLUR).position


def proportional(
    name: str, curves: Mapping[float, Curve] | Mapping[int, Curve], *, definition: str
) -> tuple[Part, list[str]]:
    """Return the test of "in proportion": the interval of the log-log slope contains 1 and excludes 0; and the places.

    Only where the best batch size lies inside of what was tried, and surely so, is it known. The interval is of a
    bootstrap over seeds, expanded for their small number; every seed has each of the curves.

    Args:
        name: In words.
        curves: By what the batch size should be in proportion to.
        definition: Of the slope.
    """
    kept = {x: curve for x, curve in curves.items() if is_resolved(curve)}
    threshold = "95% interval contains 1 and excludes 0; it excludes 1: refuted"
    if len(kept) < 3:
        reason = f"a best batch size is resolved at {len(kept)} of {len(curves)} settings, of which it takes 3"
        return nothing(name, Kind.TREND, reason, "exponent", definition, threshold), []
    count = min(len(tests) for _, tests in kept.values())
    weights = drawn_weights(count, DRAWS, np.random.default_rng(0))
    places = np.stack([best_sizes((sizes, tests[:count]), weights) for sizes, tests in kept.values()], 1)
    slopes = slopes_by_seed(np.log2(list(kept)), places)
    low, high = expanded_interval(slopes[1:], count=count)
    slope = Estimate(float(slopes[0]), low, high, LEVEL, count, "exponent", "bootstrap over seeds", definition)
    outcome = Outcome.INCONCLUSIVE
    if not low <= 1 <= high:
        outcome = Outcome.REFUTED
    elif low > 0:
        outcome = Outcome.SUPPORTED
    notes = [f"at {x:g}: best batch size {2**place:.3g}" for x, place in zip(kept, places[0], strict=True)]
    return Part(name, Kind.TREND, outcome, slope, threshold), notes


@final
class OptimumGrowsWithRate(Claim):
    """Six rates a factor of 2 apart, 1.5 decades; at each the batch size that tests best after the same updates."""

    id = "SL-2"
    statement = "The best batch size at a fixed learning rate is in proportion to that rate."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.TREND,)
    budget = BUDGET
    policy = "six fixed rates, 2^-8 to 2^-3, each for all batch sizes"
    published = ""

    RATES: ClassVar[Mapping[Scale, tuple[float, ...]]] = {
        "full": tuple(2.0**power for power in range(-8, -2)),
        "smoke": (2.0**-7, 2.0**-5, 2.0**-3),
    }

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": bed_of(scale)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"rates": swept(facts["main"], scale, FEWER[scale], self.RATES[scale])}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "rates")
        found = {rate: metrics(grid, "test", rate) for rate in self.RATES[exhibit.scale]}
        definition = "slope of log2 best batch size on log2 learning rate"
        part, notes = proportional("best batch size and learning rate", found, definition=definition)
        lines = tuple(
            line(f"learning rate {rate:g}", sizes, turned(grid.facts) * tests)
            for rate, (sizes, tests) in found.items()
            if sizes
        )
        figure = Figure("batch size", f"test {grid.facts.metric}", lines)
        return verdict(self.id, exhibit, [part], figure=figure, notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        power = 0.0 if world == "false" else 1.0
        return _made_up(world, generator, lambda arm, run: 4.5 + power * np.log2(run.learning_rate / 2**-5.5))


@final
class OptimumGrowsWithTrainingSet(Claim):
    """Five training sets, the first so many images of one order; the same rate and the same number of updates."""

    id = "SL-3"
    statement = "The best batch size at a fixed learning rate is in proportion to the size of the training set."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.TREND,)
    budget = BUDGET
    policy = FIXED
    published = (
        "against, of the critical batch size: McCandlish et al. (2018) see no dependence on the data set's size (paper)"
    )
    why_not_yours = "It needs your task with training sets of several sizes."

    SIZES: ClassVar[Mapping[Scale, tuple[int, ...]]] = {
        "full": (500, 1000, 2000, 4000, 8000),
        "smoke": (250, 500, 1000),
    }

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        first, *others = self.SIZES[scale]
        return {"main": bed_of(scale, first)} | {str(size): bed_of(scale, size) for size in others}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        most = 512 if scale == "full" else 256
        return {role: swept(one, scale, FEWER[scale], most=most) for role, one in facts.items()}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grids = {facts.train_size or 1: arm_grid(exhibit, role, role=role) for role, facts in exhibit.facts.items()}
        found = {size: metrics(grids[size], "test") for size in sorted(grids)}
        definition = "slope of log2 best batch size on log2 training examples"
        part, notes = proportional("best batch size and training set", found, definition=definition)
        lines = tuple(line(f"{size:,} examples", sizes, tests) for size, (sizes, tests) in found.items() if sizes)
        return verdict(self.id, exhibit, [part], figure=Figure("batch size", "test accuracy", lines), notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        power = 0.0 if world == "false" else 1.0
        trained = {role: bed.train for role, bed in self.beds("full").items()}
        return _made_up(world, generator, lambda arm, run: 4.0 + power * np.log2(trained[arm] / 2000))


STRENGTHS = {"full": (0.0, 1e-4, 1e-3, 3e-3, 1e-2), "smoke": (0.0, 1e-2)}
SOME = {"full": (4, 16, 64, 256), "smoke": (16,)}  # batch sizes below the whole training set


@final
class RegularizationClosesTheGap(Claim):
    """SL-1's gap between the best small batch and the whole training set, each with its own best strength of L2.

    Batch size and strength are chosen for each half of the seeds by the validation metric of the other half.
    Beside it: the gap without.
    """

    id = "SL-4"
    statement = "With a well chosen L2 penalty the whole training set as one batch tests as well as small batches."
    source = SOURCE + " (an earlier version)"
    about = "generalization"
    kinds = (Kind.EQUIVALENCE,)
    budget = BUDGET
    policy = FIXED
    why_not_yours = "It needs your task with penalties of several strengths."

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {_role(one): dataclasses.replace(bed_of(scale), l2=one) for one in STRENGTHS[scale]}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {
            role: runs(one, batch_sizes=[*SOME[scale], one.train_size or 1], rates=[RATE], seeds=seeds(scale),
                       budget=Steps(FEWER[scale]), optimizer=MOMENTUM)
            for role, one in facts.items()
        }  # fmt: skip

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        size = facts.train_size or 1
        small = {one: self._chosen(exhibit, lambda batch: batch < size, one) for one in ("tuned", "main")}
        whole = {one: self._chosen(exhibit, lambda batch: batch == size, one) for one in ("tuned", "main")}
        told = {
            "unit": "test accuracy", "margin": accuracy_margin(facts.test_size),
            "definition": "test accuracy of the best small batch less that of the whole training set",
        }  # fmt: skip
        apart = {one: small[one] - whole[one] if len(small[one]) == len(whole[one]) else np.array([]) for one in small}
        parts = [
            equivalence("with the best penalty for each they test the same", apart["tuned"], **told),
            direction("without a penalty the small batch tests better", apart["main"], counts=False, **told),
        ]
        return verdict(self.id, exhibit, parts)

    def _chosen(self, exhibit: Exhibit, wanted, which: str) -> np.ndarray:
        """Return the test metric of each seed at the other half's best batch size and strength."""
        roles = list(exhibit.facts) if which == "tuned" else ["main"]
        columns: dict[str, list[np.ndarray]] = {"validation": [], "test": []}
        for role in roles:
            grid = arm_grid(exhibit, role, role=role)
            for batch in (one for one in grid.batch_sizes() if wanted(one)):
                found = {split: self._row(grid, batch, f"{split}_accuracy") for split in columns}
                if all(np.isfinite(row).all() and len(row) > 1 for row in found.values()):
                    for split, row in found.items():
                        columns[split].append(row)
        if not columns["test"] or len({len(row) for row in columns["test"]}) > 1:
            return np.array([])
        return by_halves(np.stack(columns["validation"], 1), np.stack(columns["test"], 1))

    def _row(self, grid: Grid, batch: int, quantity: str) -> np.ndarray:
        return grid.table(batch, at_end(quantity))[0]

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        closed = 0.0 if world == "false" else 1.0
        noise = 0.02 if world == "silent" else 0.0015

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            lost = 0.015 * (run.batch_size == 1000) * (1 - closed * (arm == _role(1e-3)))
            test = 0.9 - lost + noise * generator.normal()
            return {"test_accuracy": test, "validation_accuracy": test, "train_loss": 0.1}

        return values


def _role(strength: float) -> str:
    return f"l2 {strength:g}" if strength else "main"
