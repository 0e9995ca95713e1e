"""Claims of Shallue et al. (2018), arXiv:1811.03600, about tuning: SHA-4 and SHA-5."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.comparison import equivalence_margin
from ..analysis.grid import Track
from ..analysis.rates import learning_rate_rule
from ..bed import DIGITS, Bed
from ..budgets.epochs import Epochs
from ..budgets.longest import Longest
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Line, Outcome, Part, Scale, Verdict, World
from ..estimate import Estimate, short
from ..finding import RuleTest, TaskFacts
from ..judging.figures import line
from ..judging.learners import Learner, imagined, to_a_goal
from ..judging.parts import equivalence, nothing, verdict
from ..judging.protocol import common_rates, common_sweep, octaves, runs, seeds
from ..judging.reading import Reader, arm_grid, arm_values, at_best_look, worse
from ..judging.steps_curve import choices, goal_in_words, with_one_goal
from ..optimizers.sgd import SGD
from ..plan import Plan
from ..scaling_rules.linear import Linear
from ..scaling_rules.square_root import SquareRoot
from ..statistics.plateau import has_converged

SOURCE = "Shallue, Lee, Antognini, Sohl-Dickstein, Frostig and Dahl (2018), arXiv:1811.03600"
UPDATES = {"full": 500, "smoke": 40}
LOWEST = {8: -5, 64: -2, 256: -1}  # power of 2 of the lowest effective rate on a test bed; 0 above
TUNING: dict[Scale, tuple[int, ...]] = {"full": (1000, 1001), "smoke": (1000,)}
READING = {"full": range(12), "smoke": seeds("smoke")}
WAYS = ("plain", "decay", "smoothed")
RULES = {"linear": Linear(), "square root": SquareRoot()}


@final
class TunedLargeBatches(Claim):
    """Test accuracy of training that is ended early, each batch size at the settings that validation likes best.

    Settings are the learning rate (Nesterov momentum 0.9) and one of: no regularization, weight decay, label smoothing.
    They are chosen with two seeds and read with twelve others. The budget saturates: where validation still improves in
    half of the runs of a batch size, its deficit refutes nothing. A batch size that is better than the smallest one by
    more than the margin does not degrade either. On 1,000 training images, so that full batches saturate in minutes.
    """

    id = "SHA-4"
    statement = (
        "With learning rate and regularization tuned at each batch size, larger batches do not generalize worse."
    )
    source = SOURCE
    about = "generalization"
    kinds = (Kind.EQUIVALENCE,)
    budget = "saturating: the longer of 50 epochs and 600 steps, read where validation is best"
    policy = "tuned at each batch size together with regularization, on validation with two seeds that are not read"
    published = "35 workloads: no evidence that larger batches degrade out-of-sample performance (second-hand)"

    SIZES = (8, 64, 256, 1024)
    MOMENTUM = 0.9
    DECAY = 1e-3

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        plain = Bed(train=1000) if scale == "full" else DIGITS
        return {"main": plain, "smoothed": dataclasses.replace(plain, label_smoothing=0.1)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        names = ["plain", *(["decay"] if scale == "full" else []), *(["smoothed"] if "smoothed" in facts else [])]
        return {
            name: self._plan(name, facts, scale, self._rates(facts["main"], scale), TUNING[scale]) for name in names
        }

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        found = {}
        for size in self._rates(exhibit.facts["main"], exhibit.scale):
            best = self._best(exhibit, size)
            if best is not None:
                name, rate = best
                found[f"tuned {size}"] = self._plan(
                    name, exhibit.facts, exhibit.scale, {size: [rate]}, READING[exhibit.scale]
                )
        return found

    def _rates(self, facts: TaskFacts, scale: Scale) -> dict[int, Sequence[float]]:
        chosen = sorted({min(size, facts.train_size or size) for size in self.SIZES})
        if facts.is_bed:
            count = 4 if scale == "full" else 2
            effective = {size: octaves(2.0 ** LOWEST.get(size, 0), 0, count - 1) for size in chosen}
        else:
            effective = {size: common_rates(facts, size, scale) for size in chosen}
        if scale == "smoke":
            effective = {size: effective[size] for size in chosen[1::2]}
        return {size: [rate * (1 - self.MOMENTUM) for rate in rates] for size, rates in effective.items()}

    def _plan(
        self, name: str, facts: Mapping[str, TaskFacts], scale: Scale, rates: Mapping[int, Sequence[float]],
        some: Iterable[int],
    ) -> Plan:  # fmt: skip
        decay = self.DECAY if name == "decay" else 0.0
        return runs(
            facts["smoothed" if name == "smoothed" else "main"], batch_sizes=rates, rates=rates, seeds=some,
            optimizer=SGD(momentum=self.MOMENTUM, nesterov=True, weight_decay=decay),
            budget=Longest((Epochs(50), Steps(600))) if scale == "full" else Steps(60),
        )  # fmt: skip

    @staticmethod
    def _best(exhibit: Exhibit, size: int) -> tuple[str, float] | None:
        """Return the regularization and the learning rate with the best validation metric at its best look."""
        found: dict[tuple[str, float], float] = {}
        for name in WAYS:
            if name not in exhibit.arms:
                continue
            grid = arm_grid(exhibit, name)
            quantity = f"{grid.facts.selection_split}_{grid.facts.metric}"
            if size in grid.tracks:
                scores = grid.table(size, worse(grid, at_best_look(quantity, quantity, grid.facts.better))).mean(1)
                found |= {(name, float(rate)): score for rate, score in zip(grid.rates(size), scores, strict=True)}
        known = {key: score for key, score in found.items() if np.isfinite(score)}
        return min(known, key=lambda key: known[key]) if known else None

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        sizes = sorted(self._rates(facts, exhibit.scale))
        selected, metric = f"{facts.selection_split}_{facts.metric}", f"test_{facts.metric}"
        read = at_best_look(metric, selected, facts.better)
        arms = {size: f"tuned {size}" for size in sizes if f"tuned {size}" in exhibit.arms}
        tests = {size: arm_values(exhibit, arm, read) for size, arm in arms.items()}
        settled = {size: arm_values(exhibit, arm, _settled(selected, facts.better)) for size, arm in arms.items()}
        parts = [self._part(facts, sizes[0], size, tests, settled) for size in sizes[1:]]
        notes = [self._note(exhibit, size, settled[size]) for size in sizes if len(settled.get(size, ()))]
        count = max((len(values) for values in tests.values()), default=0)
        whole = [size for size in sizes if count and len(tests.get(size, ())) == count]
        lines = (line("tuned", whole, np.stack([tests[size] for size in whole], axis=1)),) if whole else ()
        figure = Figure("batch size", f"test {facts.metric}, ended early", lines)
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    @staticmethod
    def _part(
        facts: TaskFacts, smallest: int, size: int, tests: Mapping[int, np.ndarray], settled: Mapping[int, np.ndarray]
    ) -> Part:
        name = f"batch size {size} tests as well as {smallest}"
        definition = f"test {facts.metric} at batch size {size} less that at {smallest}, each tuned"
        values, rivals = (tests.get(one, np.array([])) for one in (smallest, size))
        if not len(values) or len(values) != len(rivals) or not np.isfinite(values).any():
            reason = "one of the two batch sizes was not trained at its best settings with every seed"
            return nothing(name, Kind.EQUIVALENCE, reason, facts.metric, definition, "")
        margin, is_relative = equivalence_margin(facts)
        width = margin * abs(float(np.nanmean(values))) if is_relative else margin
        sign = 1.0 if facts.better == "above" else -1.0
        part = equivalence(name, sign * (rivals - values), margin=width, unit=facts.metric, definition=definition)
        if part.outcome is not Outcome.REFUTED:
            return part
        if (part.effect.low or 0.0) > 0:
            return dataclasses.replace(part, outcome=Outcome.SUPPORTED)
        if np.nanmean(settled[size]) <= 0.5:
            return dataclasses.replace(part, name=f"{name} (it was still improving)", outcome=Outcome.INCONCLUSIVE)
        return part

    def _note(self, exhibit: Exhibit, size: int, settled: np.ndarray) -> str:
        how, rate = self._best(exhibit, size) or ("?", np.nan)
        share = float(np.mean(settled > 0))
        return f"batch size {size}: {how}, learning rate {short(rate)}; {share:.0%} of runs had settled"

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        loss = 0.02 if world == "false" else 0.0

        def best_rate(size: int) -> float:
            return (1 - self.MOMENTUM) * 2.0 ** (LOWEST.get(size, 0) + 1.5)

        one = Learner(
            examples=lambda size: 5000 + 60.0 * size, best_rate=best_rate,
            ceiling=lambda size: 0.9 - loss * np.log2(size / 8) / 7,
            scatter=0.05 if world == "silent" else 0.003,
        )  # fmt: skip
        return imagined(one, generator)


def _settled(quantity: str, better: str) -> Reader:
    def read(track: Track) -> float:
        values = track.values.get(quantity)
        if values is None or not track.completed:
            return np.nan
        return float(has_converged(track.step, values, better))

    return read


@final
class NoRuleForRates(Claim):
    """The exponent of the best learning rate against the batch size, and how well either rule describes the best rates.

    A rule is excluded where the exponent's interval excludes it, or where the best rates lie further from any line with
    its exponent than their noise explains (p < 0.01): a rate that first grows in proportion and then levels off has the
    slope of a square root only by accident. A rule that describes them refutes the claim on this task.
    """

    id = "SHA-5"
    statement = "The best learning rate follows neither the linear nor the square-root rule."
    source = SOURCE
    about = "optimization"
    kinds = (Kind.TREND,)
    budget = "to a goal: the easier of what batches of 16 have after 500 steps, and 95 % of what all reach"
    policy = "the best rate for steps to the goal, between seven rates a factor of 2 apart; open edges do not count"
    published = "35 workloads: neither rule holds for the best effective learning rate in general (second-hand)"
    reads_sweep = True

    NEAR = 0.1  # of the exponent: closer than that, the rule is followed
    MISFIT, FIT = 0.01, 0.05  # p-values of lack of fit

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"sweep": common_sweep(facts["main"], scale)}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        (grid,) = with_one_goal([arm_grid(exhibit, "sweep")], updates=UPDATES[exhibit.scale])
        found = learning_rate_rule(choices(grid), RULES)
        tests = {test.name: test for test in found.tests}
        parts = [self._part(name, found.exponent, tests.get(name)) for name in RULES]
        misfits = [f"lack of fit of the {name} rule: p = {tests[name].p_value:.2g}" for name in RULES if name in tests]
        known = [(one.batch_size, one.learning_rate) for one in found.points]
        points = tuple((float(size), rate.low, rate.value, rate.high) for size, rate in known if rate.value is not None)
        figure = Figure("batch size", "best learning rate", (Line("best", points),), log_y=True)
        return verdict(self.id, exhibit, parts, figure=figure, notes=[goal_in_words(grid), found.reason, *misfits])

    def _part(self, rule: str, exponent: Estimate, test: RuleTest | None) -> Part:
        wanted = RULES[rule].exponent
        threshold = (
            f"95% interval excludes {wanted:g}, or lack of fit p < {self.MISFIT:g}; within ±{self.NEAR:g} refutes"
        )
        outcome = Outcome.INCONCLUSIVE
        low, high = exponent.low, exponent.high
        if exponent.value is not None and low is not None and high is not None and test is not None:
            if not low <= wanted <= high or test.p_value < self.MISFIT:
                outcome = Outcome.SUPPORTED
            elif wanted - self.NEAR < low and high < wanted + self.NEAR and test.p_value > self.FIT:
                outcome = Outcome.REFUTED
        return Part(f"not the {rule} rule", Kind.TREND, outcome, exponent, threshold)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        one = to_a_goal(90.0, 7500.0)
        if world == "false":
            power = 0.5 if generator.random() < 0.5 else 1.0
            scale = 2.0**-5 if power == 0.5 else 2.0**-6
            one = dataclasses.replace(one, best_rate=lambda size: scale * size**power)
        elif world == "silent":
            one = dataclasses.replace(one, spread=2.0)
        return imagined(one, generator)
