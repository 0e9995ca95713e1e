"""Claims of Shallue et al. (2018), arXiv:1811.03600, about steps to a goal: SHA-1, SHA-2 and SHA-3."""

import dataclasses
from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Grid
from ..analysis.heights import Heights, fitted, heights
from ..analysis.shapes import shapes
from ..bed import DIGITS, Bed
from ..budgets.examples import Examples
from ..budgets.longest import Longest
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Part, Scale, Verdict, World
from ..curves.hyperbola import Hyperbola
from ..estimate import Estimate, short
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.learners import Learner, imagined, imagined_by_arm, to_a_goal
from ..judging.momentum import MOMENTUM, momentum_sweep
from ..judging.parts import LEVEL, band, equivalence, nothing, preferred, verdict
from ..judging.protocol import common_sweep, octaves, runs
from ..judging.reading import arm_grid, table, tuned
from ..judging.steps_curve import (
    TOO_FEW,
    choices,
    goal_in_words,
    inverse_critical,
    local_slope,
    log_critical,
    log_steps_by_seed,
    with_one_goal,
)
from ..optimizers.sgd import SGD
from ..plan import Plan, Run
from ..statistics.ratio import ratio_set
from ..statistics.resampling import covariance, margin_of, replicate_estimate

SOURCE = "Shallue, Lee, Antognini, Sohl-Dickstein, Frostig and Dahl (2018), arXiv:1811.03600"
UPDATES = {"full": 500, "smoke": 40}
SHIFT_SEEDS = {"full": 12, "smoke": 2}
LOWEST = {1: -5, 4: -3, 16: -1, 64: 0, 256: 0, 1024: 0}  # powers of 2, from pilot runs with other seeds
STEPS_MARGIN = float(np.log(1.2))  # of log steps: a batch size within it still counts as perfect scaling


def _tuned_steps(grid: Grid) -> np.ndarray:
    return table(grid, grid.batch_sizes(), lambda size: tuned(grid, size, score=grid.reached))


@final
class ThreeRegimes(Claim):
    """Slopes of log steps on log batch size at both ends, and the hyperbola against a straight line in logarithms.

    Steps cannot be seen to level off below a few times the critical batch size, nor to scale perfectly above a fraction
    of it: where the batch sizes tried do not reach 8 times, or an eighth of it, a slope that is off refutes nothing.
    Momentum is 0 here; SHA-3 is about its effect. On small images of digits with 60 seeds: a slope over two octaves is a
    noisy number.
    """

    id = "SHA-1"
    statement = "Steps to a goal halve with each doubling of small batches, fall less and less beyond, and in the end not at all."
    source = SOURCE
    about = "optimization"
    kinds = (Kind.TREND, Kind.MODEL)
    budget = "to a goal: the easier of what batches of 16 have after 2,000 examples, and 95 % of what all reach"
    policy = "tuned at each batch size by steps to the goal: four rates a factor of 2 apart, a parabola between them"
    published = (
        "168,160 models, 35 workloads: all three regimes in each; largest useful batch from 2^4 to 2^16 (second-hand)"
    )
    reads_sweep = True

    SMALL, LARGE = (-1.15, -0.85), (-0.15, 0.15)
    END = 4  # batch sizes up to this factor from the outermost one make an end
    FAR = 8  # times the critical batch size

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": DIGITS}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        if scale == "smoke" or not facts["main"].is_bed:
            return {"sweep": common_sweep(facts["main"], scale)}
        rates = {size: octaves(2.0**power, 0, 3) for size, power in LOWEST.items()}
        budget = Longest((Examples(8000), Steps(150)))
        return {"sweep": runs(facts["main"], batch_sizes=rates, rates=rates, seeds=range(60), budget=budget)}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        (grid,) = with_one_goal([arm_grid(exhibit, "sweep")], updates=UPDATES[exhibit.scale])
        chosen = choices(grid)
        found = heights(chosen)
        low, high = _critical_ends(inverse_critical(chosen))
        parts = [self._small(found, low), self._large(found, high), _bends(found)]
        figure = Figure(
            "batch size", "steps to the goal", (line("tuned", grid.batch_sizes(), _tuned_steps(grid), logarithmic=True),),
            log_y=True,
        )  # fmt: skip
        notes = [goal_in_words(grid), f"critical batch size E_min/S_min between {short(low)} and {short(high)}"]
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    def _small(self, found: Heights, critical: float) -> Part:
        if not len(found.sizes):
            return nothing("perfect scaling of small batches", Kind.TREND, TOO_FEW, "dimensionless", "slope", "")
        smallest = found.sizes[0]
        end = found.sizes <= max(self.END * smallest, found.sizes[:2].max())
        what = f"slope of log steps on log batch size up to {found.sizes[end].max():.0f}"
        part = band("perfect scaling of small batches", local_slope(found, end, definition=what), *self.SMALL)
        is_flat = part.effect.value is not None and part.effect.value > self.SMALL[1]
        return _spared(part, bool(is_flat and smallest > 1 and self.FAR * smallest > critical))

    def _large(self, found: Heights, critical: float) -> Part:
        if not len(found.sizes):
            return nothing("levelling off of large batches", Kind.TREND, TOO_FEW, "dimensionless", "slope", "")
        largest = found.sizes[-1]
        end = found.sizes >= min(largest / self.END, found.sizes[-2:].min())
        what = f"slope of log steps on log batch size from {found.sizes[end].min():.0f} on"
        part = band("levelling off of large batches", local_slope(found, end, definition=what), *self.LARGE)
        is_steep = part.effect.value is not None and part.effect.value < self.LARGE[0]
        return _spared(part, bool(is_steep and largest < self.FAR * critical))

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        power = generator.uniform(0.45, 0.65)
        true = dataclasses.replace(
            to_a_goal(10.0, 10 * generator.uniform(30, 40)), best_rate=lambda size: 4 / (1 + 32 / size), spread=0.2
        )
        false = dataclasses.replace(true, examples=lambda size: 400 * size ** (1 - power))
        return imagined(
            {"true": true, "false": false, "silent": dataclasses.replace(true, spread=2.0)}[world], generator
        )


def _spared(part: Part, is_too_near: bool) -> Part:
    """Return the part, not refuted where the batch sizes tried do not reach far enough to see it."""
    if part.outcome is not Outcome.REFUTED or not is_too_near:
        return part
    name = f"{part.name} (the batch sizes tried do not reach far enough)"
    return dataclasses.replace(part, name=name, outcome=Outcome.INCONCLUSIVE)


def _critical_ends(found: tuple[np.ndarray, Heights] | None) -> tuple[float, float]:
    if found is None:
        return 0.0, np.inf
    inverse, margin = found[0][0], margin_of(found[0], found[1].groups, LEVEL)
    low, high = (1 / end if end > 0 else np.inf for end in (inverse + margin, inverse - margin))
    return low, high


def _bends(found: Heights) -> Part:
    what = "log steps of each seed against batch size, least squares, both formulas with two parameters"
    name = "a hyperbola, not a straight line in logarithms"
    compared = ()
    if found.groups and (~found.censored).sum() > 2:
        compared = shapes(found, fitted(Hyperbola(), found), Hyperbola()).shapes
    scores = {one.name: one.aicc for one in compared}
    delta = scores["power law"] - scores["hyperbola"] if scores else np.nan
    return preferred(name, delta, "a power law", definition=what)


@final
class UsefulBatchAndData(Claim):
    """Critical batch sizes at one goal for training sets of three sizes, nets of three widths, and with momentum.

    On small images of digits, so that 6 x 4 x 4 x 12 runs take minutes; 12 seeds, since a critical batch size is a noisy
    number. "Not predictably" is read as: less than half of the growth that proportionality would bring.
    """

    id = "SHA-2"
    statement = "The largest useful batch depends on the model and the optimizer, and not predictably on the size of the training set."
    source = SOURCE
    about = "optimization"
    kinds = (Kind.TREND,)
    budget = "to a goal that all arms reach"
    policy = "tuned at each batch size by steps to the goal: four rates a factor of 2 apart, a parabola between them"
    published = (
        "largest useful batch 2^4 to 2^16 over 35 workloads, without a rule in the size of the data (second-hand)"
    )
    why_not_yours = "It needs your task with other training sets and wider models, which only you can make."

    SIZES = (4, 16, 64, 256)
    SHIFTED = ({4: -3, 16: -1, 64: 0, 256: 0}, {4: -3, 16: -1, 64: 1, 256: 2})  # powers of 2, plain and with momentum
    SLOPE = (-0.5, 0.5)
    EXAMPLES = (256, 512, 1024)
    WIDTHS = (16, 32, 64)

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        found = {"main": DIGITS} | {str(size): dataclasses.replace(DIGITS, train=size) for size in self.EXAMPLES[:2]}
        wide = {f"width {width}": dataclasses.replace(DIGITS, hidden=(width,)) for width in self.WIDTHS[::2]}
        return found | wide if scale == "full" else {"main": DIGITS, "256": found["256"]}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        found = {role: self._plan(one, scale, 0.0) for role, one in facts.items()}
        return found | {"momentum": self._plan(facts["main"], scale, MOMENTUM)} if scale == "full" else found

    def _plan(self, facts: TaskFacts, scale: Scale, momentum: float) -> Plan:
        lowest = self.SHIFTED[bool(momentum)]
        chosen = self.SIZES if scale == "full" else self.SIZES[1::2]
        return runs(
            facts, batch_sizes=chosen, optimizer=SGD(momentum=momentum),
            rates={size: octaves(2.0 ** lowest[size] * (1 - momentum), 0, 3 if scale == "full" else 1) for size in chosen},
            seeds=range(SHIFT_SEEDS[scale]),
            budget=Longest((Examples(12_000), Steps(150))) if scale == "full" else Steps(40),
        )  # fmt: skip

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        arms = list(exhibit.arms)
        roles = ["main" if arm == "momentum" else arm for arm in arms]
        grids = with_one_goal([arm_grid(exhibit, arm, role=role) for arm, role in zip(arms, roles, strict=True)])
        logs = {arm: log_critical(choices(grid)) for arm, grid in zip(arms, grids, strict=True)}
        data, width = (
            self._slope(exhibit, logs, arms, np.log(numbers), f"log critical batch size on log {what}")
            for what, arms, numbers in (
                ("training set size", [*map(str, self.EXAMPLES[:2]), "main"], self.EXAMPLES),
                ("width", [f"width {self.WIDTHS[0]}", "main", f"width {self.WIDTHS[2]}"], self.WIDTHS),
            )
        )
        momentum = self._slope(
            exhibit, logs, ["main", "momentum"], np.array([0, np.log(2)]), "log2, momentum over plain"
        )
        parts = [
            band("hardly grows or falls with the training set", data, *self.SLOPE),
            band("grows with the width", width, 0.0, np.inf, counts=False),
            band("grows with momentum", momentum, 0.0, np.inf, counts=False),
        ]
        points = [(arm, found) for arm, found in logs.items() if found is not None and np.isfinite(found[0][0])]
        notes = [goal_in_words(grids[0])] + [
            f"{arm}: critical batch size {short(float(np.exp(found[0][0])))}" for arm, found in points
        ]
        figure = Figure("batch size", "steps to the goal", tuple(
            line(arm, grid.batch_sizes(), _tuned_steps(grid), logarithmic=True) for arm, grid in zip(arms, grids, strict=True)
        ), log_y=True)  # fmt: skip
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    @staticmethod
    def _slope(
        exhibit: Exhibit, logs: Mapping[str, tuple[np.ndarray, Heights] | None], arms: list[str], x: np.ndarray, what: str
    ) -> Estimate:  # fmt: skip
        found = [one for one in (logs.get(arm) for arm in arms) if one is not None]
        facts = {"unit": "dimensionless", "definition": f"slope: {what}", "level": LEVEL}
        if len(found) < len(arms) or len({len(values) for values, _ in found}) > 1:
            return Estimate.missing(f"{', '.join(arms)}: in one of them {TOO_FEW}", **facts)
        values = np.stack([values for values, _ in found], axis=-1)
        if not np.isfinite(values).all():
            return Estimate.missing("steps to the goal do not level off in every arm", **facts)
        shares = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
        of_seeds = found[0][1]
        return replicate_estimate(
            values @ shares, of_seeds.groups, count=of_seeds.count, method=f"least squares, {of_seeds.method}", **facts
        )

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        sizes = {bed.name: bed.train for bed in self.beds("full").values()}
        spread = 2.0 if world == "silent" else 0.2
        power = 1.1 if world == "false" else 0.0

        def learner(arm: str, run: Run) -> Learner:
            faster, slow = (2.0, 1 - MOMENTUM) if arm == "momentum" else (1.0, 1.0)
            one = to_a_goal(12 * (sizes[run.task] / 512) ** -power / faster, 450.0)
            return dataclasses.replace(
                one, best_rate=lambda size: slow * 5 * faster / (1 + 40 * faster / size), spread=spread
            )

        return imagined_by_arm(learner, generator)


@final
class MomentumExtends(Claim):
    """The ratio of critical batch sizes with and without momentum, and steps to the goal at the smallest batch sizes.

    Where perfect scaling ends is a fixed share of the critical batch size of the hyperbola, so that their ratios are
    the same. Both optimizers are compared at one goal and over the same batch sizes.
    """

    id = "SHA-3"
    statement = "Momentum extends perfect scaling to larger batches and changes nothing at small ones."
    source = SOURCE
    about = "optimization"
    kinds = (Kind.DIRECTION, Kind.EQUIVALENCE)
    budget = "to a goal: the easier of what batches of 16 have after 500 plain steps, and 95 % of what all reach"
    policy = "tuned at each batch size and for each optimizer by steps to the goal, in effective rates"
    published = (
        "ResNet-8: perfect scaling up to batches of 16 with plain SGD, of 256 with Nesterov momentum (second-hand)"
    )

    SMALL = 4  # times the smallest batch size: whose steps are averaged, since 8 seeds of one say too little

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"plain": common_sweep(facts["main"], scale), "momentum": momentum_sweep(facts["main"], scale)}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        both = [arm_grid(exhibit, arm) for arm in ("plain", "momentum")]
        shared = sorted(set(both[0].tracks) & set(both[1].tracks))
        both = [dataclasses.replace(grid, tracks={size: grid.tracks[size] for size in shared}) for grid in both]
        plain, momentum = with_one_goal(both, updates=UPDATES[exhibit.scale])
        chosen = [choices(grid) for grid in (plain, momentum)]
        ratio = _ratio(*map(inverse_critical, chosen))
        small = [size for size in shared if size <= self.SMALL * shared[0]]
        apart = np.array([])
        if small and plain.seeds == momentum.seeds:
            pairs = [[log_steps_by_seed(some[size]) for some in chosen] for size in small]
            if len({len(one) for pair in pairs for one in pair}) == 1:
                apart = np.mean([other - one for one, other in pairs], axis=0)
        parts = [
            band("perfect scaling reaches further with momentum", ratio, 1.0, np.inf, kind=Kind.DIRECTION),
            equivalence(
                "as many steps at the smallest batch sizes", apart, margin=STEPS_MARGIN, unit="log steps",
                definition=f"log steps to the goal with momentum less without, mean of batch sizes {small}",
            ),
        ]  # fmt: skip
        lines = (
            line(name, grid.batch_sizes(), _tuned_steps(grid), logarithmic=True)
            for name, grid in (("plain", plain), ("momentum 0.9", momentum))
        )
        figure = Figure("batch size", "steps to the goal", tuple(lines), log_y=True)
        return verdict(self.id, exhibit, parts, figure=figure, notes=[goal_in_words(plain)])

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        spread = 2.0 if world == "silent" else 0.15
        plain = dataclasses.replace(to_a_goal(90.0, 7500.0), spread=spread)
        further, dearer = (2.3, 1.0) if world != "false" else (0.6, 1.0) if generator.random() < 0.5 else (2.3, 2.0)
        momentum = dataclasses.replace(
            to_a_goal(90.0 / further, 7500.0 * dearer), spread=spread, best_rate=lambda size: 0.4 / (1 + 256 / size)
        )
        return imagined_by_arm(lambda arm, _: plain if arm == "plain" else momentum, generator)


def _ratio(plain: tuple[np.ndarray, Heights] | None, other: tuple[np.ndarray, Heights] | None) -> Estimate:
    """Return the ratio of critical batch sizes, other over plain, with Fieller's interval: it may be open above."""
    facts = {"unit": "ratio", "definition": "critical batch size with momentum over that without", "level": LEVEL}
    if plain is None or other is None or len(plain[0]) != len(other[0]):
        return Estimate.missing(TOO_FEW, **facts)
    inverses = np.stack([plain[0], other[0]], axis=-1)
    matrix, degrees = covariance(inverses, plain[1].groups)
    top, bottom = map(float, inverses[0])
    low, high = ratio_set(top, bottom, matrix, degrees=degrees, level=LEVEL)
    if min(top, bottom) <= 0:
        return Estimate.missing("steps do not level off with one of the optimizers", low=low, high=high, **facts)
    method = f"{plain[1].method}, Fieller"
    return Estimate(top / bottom, low, high, LEVEL, plain[1].count, facts["unit"], method, facts["definition"])
