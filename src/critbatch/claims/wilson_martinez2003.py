"""WM-1 to WM-3: Wilson and Martinez (2003), The general inefficiency of batch training for gradient descent learning.

One sweep of spoken digits serves all three: 2,048 recordings, 130-64-10 with
sigmoids and cross-entropy, plain SGD on summed gradients, batch sizes 1, 10, 100, 900 and all. Learning rates are per
example: rate of the batch mean over B. An arm with the squared error, nearer to 2003, is left out for its cost.
"""

import dataclasses
from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.choice import choose
from ..analysis.grid import Grid, Track
from ..analysis.target_curve import fit_curve
from ..bed import Bed
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Line, Part, Scale, Verdict, World
from ..curves.hyperbola import Hyperbola
from ..finding import TaskFacts
from ..judging.common_goal import (
    SWEEP,
    Goal,
    common_goal,
    examples_to,
    examples_to_nearly_best,
    span_of_a_decade,
    speech_bed,
    summed_sweep,
    swept,
    tuned_examples,
    wider,
)
from ..judging.figures import line
from ..judging.learners import Learner, imagined
from ..judging.parts import band, direction, equivalence, metric_margin, slope_estimate, verdict
from ..judging.protocol import common_budget, common_rates, runs, seeds
from ..judging.reading import Reader, arm_grid, at_end, best_rate_by_seed, table, tuned, worse
from ..plan import Plan
from ..statistics.plateau import has_converged

SOURCE = "Wilson and Martinez (2003), Neural Networks 16, 1429-1451; the same (2000), IJCNN"
POLICY = (
    "tuned at each batch size among five rates per example, in turn a factor of 3 and of 10/3 apart, chosen by the "
    "other seeds; two more are added where the best one is the first or the last"
)
BUDGET = "the longer of 100 epochs and 1,500 updates"


@final
class EpochsGrow(Claim):
    """Epochs to one goal at each batch size's fastest rate: a slope overall, and one over the last decade and more.

    The goal lies 95 % of the way from the untrained model to the end of batch size 1 on validation. "Roughly linearly"
    is a slope within [0.7, 1.3] from the largest size of at most a tenth of the training set up. Told besides: epochs
    until a run stays within 0.25 percentage points of its own best, and where the curve bends.
    """

    id = "WM-1"
    statement = (
        "The epochs that training takes grow with the batch size, roughly in proportion to it for large batches."
    )
    source = SOURCE
    about = "optimization"
    kinds = (Kind.TREND,)
    budget = f"to a common goal, within {BUDGET}"
    policy = POLICY
    published = "training time grows about linearly with the batch size (paper, abstract of 2000)"
    reads_sweep = True

    linear = (0.7, 1.3)
    near = 0.0025  # of accuracy; of the gain where the metric is another

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": speech_bed(scale)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {SWEEP: summed_sweep(facts["main"], scale)}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        return wider(exhibit)

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = swept(exhibit)
        goal, sizes = common_goal(grid), grid.batch_sizes()
        epochs = tuned_examples(grid, goal) / (grid.facts.train_size or 1)
        top = span_of_a_decade(sizes)
        told = {"unit": "log epochs per log batch size"}
        parts = [
            band(
                "epochs to a common goal grow with the batch size",
                slope_estimate(np.log(sizes), np.log(epochs), definition="slope at tuned rates, all batch sizes", **told),
                0.0, np.inf,
            ),
            band(
                "they grow roughly linearly at large batches",
                slope_estimate(
                    np.log(sizes[top:]), np.log(epochs[:, top:]),
                    definition=f"the same slope over batch sizes {', '.join(map(str, sizes[top:])) or '?'}", **told,
                ),
                *self.linear,
            ),
            band(
                "so do epochs until a run is nearly at its own best",
                slope_estimate(
                    np.log(sizes), np.log(self._nearly_best(grid, goal)),
                    definition="slope of log epochs until validation is within 0.25 percentage points of the run's best",
                    **told,
                ),
                0.0, np.inf, counts=False,
            ),
        ]  # fmt: skip
        figure = Figure(
            "batch size", "epochs to the goal", (line("tuned", sizes, epochs, logarithmic=True),), log_y=True
        )
        return verdict(self.id, exhibit, parts, figure=figure, notes=_bend(grid, goal))

    def _nearly_best(self, grid: Grid, goal: Goal | None) -> np.ndarray:
        if goal is None:
            return tuned_examples(grid, goal)
        within = self.near if grid.facts.metric == "accuracy" else self.near * abs(goal.value)
        return tuned_examples(
            grid, goal, read=examples_to_nearly_best(goal.quantity, within, grid.facts.better)
        )  # fmt: skip

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        return imagined(_learner(world, growing=world != "false"), generator)


def _learner(world: World, *, growing: bool) -> Learner:
    """Return a model whose examples to the goal grow or not with the batch; silent: large batches never get there."""

    def examples(size: int) -> float:
        needed = 1000.0 * (1 + size / 60) if growing else 12_000.0
        return needed * (1e4 if world == "silent" and size > 10 else 1.0)

    return Learner(examples, _best_rate, lambda size: 0.97)


def _best_rate(size: int) -> float:
    return 0.06 * size / (1 + size / 60)


def _bend(grid: Grid, goal: Goal | None) -> tuple[str, ...]:
    """Return where the curve bends, in words."""
    if goal is None:
        return ("no goal: the smallest batch size learnt nothing",)
    facts = dataclasses.replace(
        grid.facts, target_quantity=goal.quantity, target_value=goal.value, target_direction=goal.direction
    )
    aimed = Grid(facts, grid.seeds, grid.tracks)
    fit = fit_curve({size: choose(aimed, size) for size in aimed.batch_sizes()}, Hyperbola(), thorough=False)
    critical = fit.critical_batch_size
    said = critical.reason if critical.value is None else f"{critical.brief()} (95% interval)"
    return (f"goal: {goal.quantity} {goal.direction} {goal.value:.4g}", f"critical batch size, the bend: {said}")


@final
class LargerRateOnline(Claim):
    """The fastest learning rate per example against the batch size; Wilson and Martinez advise a fall by its root.

    "Best" is the rate with the fewest examples to the goal of WM-1, between the rates tried: where training goes on
    until it stops improving, accuracy is nearly the same over a wide range of rates (WM-3) and has no sharp optimum.
    The accuracy's own view is told besides: the largest rate tried whose end is at most 1 percentage point below the
    best rate's.
    """

    id = "WM-2"
    statement = "On-line training tolerates a larger learning rate per example than batch training does."
    source = SOURCE
    about = "optimization"
    kinds = (Kind.TREND,)
    budget = f"to a common goal, within {BUDGET}"
    policy = "what is asked; five rates per example at each batch size, two more where the best one is at an edge"
    published = "advice: a rate per example that falls as one over the root of the batch size (second-hand)"
    reads_sweep = True

    rules: Mapping[str, float] = {
        "linear scaling of the mean's rate": 0.0,
        "square-root scaling, as Wilson and Martinez advise": -0.5,
        "a fixed rate of the mean": -1.0,
    }

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": speech_bed(scale)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {SWEEP: summed_sweep(facts["main"], scale)}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        return wider(exhibit)

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = swept(exhibit)
        goal, sizes = common_goal(grid), grid.batch_sizes()
        reached: Reader = examples_to(goal) if goal else lambda track: np.inf
        fastest = table(grid, sizes, lambda size: best_rate_by_seed(grid, size, score=reached) / size)
        harmless = table(grid, sizes, lambda size: _harmless(grid, size) / size)
        told = {"unit": "log rate per log batch size"}
        slope = slope_estimate(
            np.log(sizes), np.log(fastest), definition="slope of the log of the fastest rate per example", **told
        )
        parts = [
            band("the fastest rate per example falls with the batch size", slope, -np.inf, 0.0),
            band(
                "so does the largest rate that does no harm",
                slope_estimate(
                    np.log(sizes), np.log(harmless), definition="slope of the log of the largest harmless rate", **told
                ),
                -np.inf, 0.0, counts=False,
            ),
        ]  # fmt: skip
        notes = ()
        if slope.value is not None:
            value = slope.value
            near = min(self.rules, key=lambda name: abs(value - self.rules[name]))
            notes = (f"nearest rule: {near} ({self.rules[near]:g})",)
        figure = Figure(
            "batch size", "learning rate per example", tuple(
                line(name, sizes, values, logarithmic=True)
                for name, values in (("fastest", fastest), ("largest that does no harm", harmless))
            ), log_y=True,
        )  # fmt: skip
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        power = {"true": -0.5, "false": 0.12, "silent": -0.5}[world]
        start = 0.1 if power < 0 else 0.012
        short = 1e5 if world == "silent" else 1.0
        return imagined(
            Learner(
                examples=lambda size: 1000.0 * (1 + size / 60) * (short if size > 1 else 1.0),
                best_rate=lambda size: start * size ** (1 + power),
                ceiling=lambda size: 0.97,
            ),
            generator,
        )


def _harmless(grid: Grid, size: int) -> np.ndarray:
    """Return each seed's largest rate whose end is no worse than the best rate's by more than the margin, shape (seed,).

    NaN where it is the largest that was tried: more might do no harm.
    """
    facts = grid.facts
    ends = grid.table(size, worse(grid, at_end(f"{facts.selection_split}_{facts.metric}")))
    rates, means = grid.rates(size), np.nan_to_num(ends, nan=np.inf).mean(1)
    found = np.full(ends.shape[1], np.nan)
    if not np.isfinite(means).any():
        return found
    best = ends[int(np.argmin(means))]
    kept = ends <= best + metric_margin(dataclasses.replace(facts, test_size=None), best)
    for seed, column in enumerate(kept.T):
        last = int(np.flatnonzero(column).max(initial=-1))
        if 0 <= last < len(rates) - 1:
            found[seed] = rates[last]
    return found


@final
class SameAccuracy(Claim):
    """Batch size 1 against the whole training set at the end of long training, on spoken digits and on images.

    Only runs whose validation has stopped improving are read. The images are the common sweep's (MNIST 14 x 14, 2,000).
    The asker of the founding question calls on-line training slightly disadvantageous: the sign is told besides.
    """

    id = "WM-3"
    statement = "With enough epochs on-line and batch training end with the same accuracy."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.EQUIVALENCE,)
    budget = f"until converged, within {BUDGET} (images: of 30 epochs and 2,000 updates)"
    policy = "tuned at each batch size on validation at the end, chosen by the other seeds"
    published = "the two differ in speed, with no difference in accuracy to be seen (paper, abstract)"

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": speech_bed(scale)} | ({"images": Bed()} if scale == "full" else {})

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        found = {SWEEP: summed_sweep(facts["main"], scale)}
        if "images" in facts:
            found["images"] = _ends_of_common_sweep(facts["images"], scale)
        return found

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        return wider(exhibit)

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grids = {"main": swept(exhibit)}
        if "images" in exhibit.arms:
            grids["images"] = arm_grid(exhibit, "images", role="images")
        same: list[Part] = []
        lead: list[Part] = []
        lines: list[Line] = []
        notes: list[str] = []
        for grid in grids.values():
            sizes = grid.batch_sizes()
            ends = table(grid, sizes, lambda size, grid=grid: _converged_end(grid, size))
            difference = ends[:, 0] - ends[:, -1] if len(sizes) > 1 else np.array([])
            of = {"unit": f"test {grid.facts.metric}", "definition": f"batch size {sizes[0]} less {sizes[-1]}"
                  if sizes else "on-line less batch"}  # fmt: skip
            margin = metric_margin(grid.facts, ends)
            same.append(equivalence(f"{grid.facts.name}: the same at the end", difference, margin=margin, **of))
            ahead = difference * (1 if grid.facts.better == "above" else -1)
            lead.append(direction(f"{grid.facts.name}: on-line ends better", ahead, counts=False, **of))
            lines.append(line(grid.facts.name, sizes, ends))
            settled = [
                f"{size} with {int(np.isfinite(column).sum())}" for size, column in zip(sizes, ends.T, strict=True)
            ]
            notes.append(f"{grid.facts.name}: of {len(ends)} seeds converged: batch size {', '.join(settled)}")
        figure = Figure("batch size", "test metric at the end", tuple(lines))
        return verdict(self.id, exhibit, [*same, *lead], figure=figure, notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        loss = 0.006 if world == "false" else 0.0
        learner = Learner(
            examples=lambda size: 1000.0 * (1 + size / 60) if world != "silent" or size == 1 else 3e7,
            best_rate=_best_rate,
            ceiling=lambda size: 0.96 - loss * np.log10(size),
            scatter=0.002,
        )
        return imagined(learner, generator)


def _ends_of_common_sweep(facts: TaskFacts, scale: Scale) -> Plan:
    chosen = (1, facts.train_size or 1)
    rates = {size: common_rates(facts, size, scale) for size in chosen}
    return runs(facts, batch_sizes=chosen, rates=rates, seeds=seeds(scale), budget=common_budget(scale))


def _converged_end(grid: Grid, size: int) -> np.ndarray:
    facts = grid.facts
    selected, end = f"{facts.selection_split}_{facts.metric}", at_end(f"test_{facts.metric}")

    def read(track: Track) -> float:
        values = track.values.get(selected)
        if values is None or not has_converged(track.step, values, facts.better):
            return np.nan
        return end(track)

    return tuned(grid, size, score=worse(grid, at_end(selected)), read=read)
