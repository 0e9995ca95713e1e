"""BL-1 and BL-2: what on-line training saves on redundant data, and on large data.

LeCun, Bottou, Orr and Müller (1998), Efficient BackProp; Bottou and Bousquet (2008), The tradeoffs of large scale learning.
"""

from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Grid, Track
from ..bed import Bed
from ..budgets.examples import Examples
from ..budgets.longest import Longest
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Part, Scale, Verdict, World
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.common_goal import Goal, examples_to
from ..judging.figures import line
from ..judging.pairs import BySeed, stacked, tuned_by_seed
from ..judging.parts import band, exact, nothing, slope_estimate, verdict
from ..judging.protocol import octaves, runs, seeds
from ..judging.reading import arm_grid, chosen_rate
from ..plan import Plan, Run
from ..statistics.censoring import smooth

COPIES = (1, 2, 5, 10)
TUNING = "tuning"
ONLINE, FEW = 1, 10  # batch sizes that do not see the whole set at once
LOSS = Goal("train_loss", 0.23, "below")  # a tenth of the loss of guessing among ten classes
Column = Mapping[int, BySeed]  # examples to the goal, by batch size


@final
class Copies(Claim):
    """Examples to a training loss on k copies of 200 images, at the learning rates tuned on one copy.

    Both gradients of the whole set are the same up to rounding, so the batch's ratio of examples is k, to be checked
    exactly. At batch sizes 1 and 10 the question is the exponent of examples in k: 1 if copies are paid for, 0 if not;
    within 0.3 of 0 counts as not.
    """

    id = "BL-1"
    statement = "On k copies of a smaller set batch training wastes a factor of k, and on-line training does not."
    source = "LeCun, Bottou, Orr and Müller (1998), Efficient BackProp, in Neural Networks: Tricks of the Trade"
    about = "optimization"
    kinds = (Kind.EXACT, Kind.TREND)
    budget = "to a training loss of 0.23, within 12,000 examples on-line and 250 steps of the whole set"
    policy = "tuned on one copy at each batch size among three rates a factor of 2 apart, then kept"
    why_not_yours = "It needs copies of the training set: yours is what it is."

    rounding = 0.01  # of the ratio
    free = 0.3  # exponent

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        if scale == "smoke":
            return {_role(k): Bed(data="digits", train=256, hidden=(32,), side=8, copies=k) for k in (1, 2)}
        return {_role(k): Bed(train=200, copies=k) for k in COPIES}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        one = facts[_role(1)]
        middles = {ONLINE: 2.0**-6, FEW: 0.125, _whole(one): 0.5}
        if scale == "smoke":
            return {TUNING: _plan(one, {FEW: [0.125, 0.25], _whole(one): [0.5]}, scale)}
        return {TUNING: _plan(one, {size: octaves(middle, 1, 1) for size, middle in middles.items()}, scale)}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        grid = arm_grid(exhibit, TUNING, role=_role(1))
        found = {size: chosen_rate(grid, size, score=examples_to(LOSS)) for size in grid.batch_sizes()}
        whole = _whole(grid.facts)
        more = {}
        for role, facts in exhibit.facts.items():
            rates = {
                _whole(facts) if size == whole else size: [rate] for size, rate in found.items() if rate is not None
            }
            if role != _role(1) and rates:
                more[role] = _plan(facts, rates, exhibit.scale)
        return more

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        columns = {k: _column(exhibit, k) for k in COPIES if _role(k) in exhibit.facts}
        kept = sorted({size for column in columns.values() for size in column if size in (ONLINE, FEW)})
        parts = [self._batch(columns)]
        lines = []
        for size in kept:
            known: dict[float, BySeed] = {k: column[size] for k, column in columns.items() if size in column}
            values = stacked(known)
            slope = slope_estimate(
                np.log(list(known)), np.log(values), unit="log examples per log copies",
                definition=f"slope of log examples to the loss on log k, batch size {size}",
            )  # fmt: skip
            parts.append(band(f"batch size {size} does not pay for copies", slope, -self.free, self.free))
            lines.append(line(f"batch size {size}", list(known), values / values[:, :1], logarithmic=True))
        if not kept:
            parts.append(
                nothing("on-line training does not pay for copies", Kind.TREND, "no such run", "", "slope", "±0.3")
            )
        figure = Figure("copies", "examples over those of one copy", tuple(lines), log_y=True)
        return verdict(self.id, exhibit, parts, figure=figure)

    def _batch(self, columns: Mapping[int, Column]) -> Part:
        """Return the check that the whole set as one batch takes k times the examples."""
        name, definition = "the whole set as one batch pays k-fold", "largest deviation of the ratio of examples from k"
        threshold = f"every seed's ratio within {self.rounding:.0%} of k"
        whole: dict[float, BySeed] = {
            k: column[max(column)] for k, column in columns.items() if max(column, default=0) > FEW
        }
        values = stacked(whole)
        if len(whole) < max(len(columns), 2) or not len(values) or not np.isfinite(values).all():
            return nothing(name, Kind.EXACT, "not every run reached the loss", "of k", definition, threshold)
        apart = np.abs(values[:, 1:] / values[:, :1] / np.array(list(whole))[1:] - 1)
        worst = float(apart.max())
        effect = Estimate(worst, None, None, 0.95, apart.size, "of k", "largest over copies and seeds", definition)
        return exact(name, holds=worst <= self.rounding, effect=effect, threshold=threshold)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        return _imagined_copies(1.0 if world == "false" else 0.0, generator, short=world == "silent")


def _role(k: int) -> str:
    return "one copy" if k == 1 else f"{k} copies"


def _whole(facts: TaskFacts) -> int:
    return facts.train_size or 1


def _plan(facts: TaskFacts, rates: Mapping[int, list[float]], scale: Scale) -> Plan:
    budget = Longest((Examples(12_000), Steps(250))) if scale == "full" else Longest((Examples(2560), Steps(80)))
    return runs(facts, batch_sizes=rates, rates=rates, seeds=seeds(scale), budget=budget)


def _column(exhibit: Exhibit, k: int) -> Column:
    """Return examples to the loss on k copies, by batch size, at the rate chosen on one copy; NaN where not reached."""
    arm = TUNING if k == 1 else _role(k)
    if arm not in exhibit.arms:
        return {}
    grid = arm_grid(exhibit, arm, role=_role(k))
    reached = examples_to(LOSS)
    found = {}
    for size in grid.batch_sizes():
        rate = chosen_rate(grid, size, score=reached) if k == 1 else float(grid.rates(size)[0])
        if rate is not None:
            values = grid.table(size, reached)[grid.rates(size).tolist().index(rate)]
            found[size] = {
                seed: float(value) if np.isfinite(value) else np.nan
                for seed, value in zip(grid.seeds, values, strict=True)
            }
    return found


def _imagined_copies(power: float, generator: np.random.Generator, *, short: bool) -> Imagined:
    """Return training whose on-line examples grow with k to a power; whole sets take the same steps for every k.

    Args:
        power: Of k.
        generator: Of seeds' luck and of runs' own.
        short: Whether on-line training is too slow for its budget.
    """
    luck = generator.normal(size=64)
    best = {ONLINE: 2.0**-6, FEW: 0.125}

    def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
        k = 1 if arm == TUNING else int(arm.split()[0])
        shared = 0.1 * luck[run.seed % 64]
        if run.batch_size > FEW:
            progress = looks / (60 * np.exp(shared + 0.5 * np.log(run.learning_rate / 0.5) ** 2))
        else:
            off = np.log(run.learning_rate / best[run.batch_size])
            needed = 800 * k**power * np.exp(shared + 0.15 * generator.normal() + 0.5 * off**2)
            progress = looks * run.batch_size / (needed * (100 if short else 1))
        return {"train_loss": 2.3 * 10 ** -np.minimum(progress, 100.0)}

    return values


@final
class LargeData(Claim):
    """Examples to one error on n images, at the learning rate tuned for each n; logistic regression with a penalty.

    The error is the loss on held-out images, and the level is fixed by the smallest set: 1.2 times the lowest that its
    batch training reaches. One level is one excess over the best that could ever be reached, whatever that is. Learning
    rates are chosen on validation images, examples are read on test images. "In proportion" is an exponent within
    [0.8, 1.2]: asking only that the interval hold 1 would reward noise. "Does not depend" is an exponent below 0.3.
    """

    id = "BL-2"
    statement = (
        "The examples that SGD takes to a given excess error do not depend on the size of the training set; those of "
        "gradient descent are in proportion to it."
    )
    source = "Bottou and Bousquet (2008), The tradeoffs of large scale learning, NIPS 20"
    about = "optimization"
    kinds = (Kind.TREND,)
    budget = "to a common error, within 24,000 examples at batch size 1 and 200 steps of the whole set"
    policy = "tuned for each n at both batch sizes among four rates a factor of 2 apart, chosen by the other seeds"
    why_not_yours = "It needs training sets of several sizes from the same source: yours has one."

    above = 1.2  # times the lowest loss of the smallest set
    proportional = (0.8, 1.2)
    free = 0.3

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        if scale == "smoke":
            return {f"n = {n}": Bed(data="digits", train=n, hidden=(), side=8, l2=1e-3) for n in (256, 1024)}
        return {f"n = {n}": Bed(train=n, hidden=(), l2=1e-3) for n in (1000, 2000, 4000, 8000)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        is_full = scale == "full"
        online, rest = (octaves(2.0**-7, 1, 2), octaves(0.5, 1, 2)) if is_full else ([2.0**-7], [0.5])
        budget = Longest((Examples(24_000), Steps(200))) if is_full else Longest((Examples(1024), Steps(80)))
        found = {}
        for role, one in facts.items():
            rates = {1: online, _whole(one): rest}
            found[role] = runs(one, batch_sizes=rates, rates=rates, seeds=seeds(scale), budget=budget)
        return found

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grids = {_whole(exhibit.facts[role]): arm_grid(exhibit, role, role=role) for role in exhibit.arms}
        level = self._level(grids[min(grids)])
        reading = {"score": examples_to(Goal("validation_loss", level, "below")),
                   "read": examples_to(Goal("test_loss", level, "below"))}  # fmt: skip
        ns = np.array(sorted(grids), dtype=float)
        tables = {
            name: stacked(
                {n: tuned_by_seed(grid, n if is_whole else 1, **reading) for n, grid in sorted(grids.items())}
            )
            for name, is_whole in (("batch size 1", False), ("gradient descent", True))
        }
        slopes = [
            slope_estimate(
                np.log(ns), np.log(values), unit="log examples per log n",
                definition=f"slope of log examples to a test loss of {level:.3g} on log n, {name}",
            )
            for name, values in tables.items()
        ]  # fmt: skip
        parts = [
            band("examples at batch size 1 do not depend on n", slopes[0], -np.inf, self.free),
            band("examples of gradient descent are in proportion to n", slopes[1], *self.proportional),
        ]
        figure = Figure(
            "training examples n", "examples to the error",
            tuple(line(name, list(ns), values, logarithmic=True) for name, values in tables.items()), log_y=True,
        )  # fmt: skip
        return verdict(self.id, exhibit, parts, figure=figure)

    def _level(self, grid: Grid) -> float:
        """Return the error to be reached; 0, which nothing reaches, if the smallest set has no whole batch."""

        def lowest(track: Track) -> float:
            values = track.values.get("validation_loss")
            return np.inf if values is None or not track.completed else float(smooth(values).min())

        size = _whole(grid.facts)
        means = grid.table(size, lowest).mean(1) if size in grid.tracks else np.array([np.inf])
        return self.above * float(means.min()) if np.isfinite(means.min()) else 0.0

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        power = {"true": (0.05, 1.0), "false": (0.9, 1.0), "silent": (0.05, 1.0)}[world]
        short = 100 if world == "silent" else 1
        luck = generator.normal(size=64)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            n = int(arm.removeprefix("n = "))
            at_once = run.batch_size > 1
            off = np.log(run.learning_rate / (0.6 if at_once else 0.012))
            needed = (15_000 if at_once else 1200 * short) * (n / 1000) ** power[at_once]
            needed *= np.exp(
                0.5 * off**2 + 0.08 * luck[run.seed % 64] + (0.02 if at_once else 0.2) * generator.normal()
            )
            floor = 0.4 * (n / 1000) ** -0.1
            left = np.exp(-2.7 * np.minimum(looks * run.batch_size / needed, 100.0))
            loss = floor + (2.3 - floor) * left
            return {"train_loss": loss, "validation_loss": loss, "test_loss": loss * 1.01}

        return values
