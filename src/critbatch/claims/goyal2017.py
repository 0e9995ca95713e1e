"""Goyal et al. (2017): large batches with a learning rate scaled in proportion and a gradual warm-up."""

import functools
from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Grid
from ..bed import Bed, common_bed
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Line, Part, Scale, Verdict, World
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.linear_scaling import (
    BASE,
    DIGITSS,
    EPOCHS,
    FACTORS,
    FEW,
    GHOSTS,
    KEPT,
    RULES,
    kept,
    log_elbows,
    log_losses,
    lost,
    made_up,
    picture,
    residual_slopes,
    rule_arms,
    scaled,
    tuned_base,
)  # fmt: skip
from ..judging.parts import accuracy_margin, band, direction, equivalence, none_beats, verdict
from ..judging.reading import arm_grid, at
from ..judging.scaled import base_rate, ends, largest_kept, turned
from ..plan import Plan
from ..statistics.resampling import leave_one_out, replicate_estimate

SOURCE = "Goyal et al. (2017), arXiv:1706.02677"
BUDGET = "equal epochs (30)"
POLICY = "tuned at batch size 16 on validation (seven rates a factor of 2 apart), then scaled by the rule"
SETTLED = 0.2  # share of the epochs after which training curves are compared
COMPARED = 16  # places on these curves


@final
class LinearScaling(Claim):
    """Accuracy up to a limit. Reported besides: training curves, ghost batch normalisation, and where the limit lies.

    Whether the limit moves with the size of the training set is tried on images of 7x7 pixels and 32 hidden units, which
    is ten times cheaper.
    """

    id = "GOY-1"
    statement = (
        "With the learning rate raised in proportion to the batch size, accuracy and training curve stay as they were up "
        "to a limit, and fall off fast beyond it."
    )
    source = SOURCE
    about = "optimization"
    kinds = (Kind.EQUIVALENCE, Kind.DIRECTION)
    budget = BUDGET
    policy = POLICY
    published = (
        "ResNet-50 on ImageNet, validation error in % at batch sizes 256, 8k, 16k, 32k, 64k: 23.60, 23.74, 24.79, 27.55, "
        "33.96; the same elbow with five times the data (paper)"
    )

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        if scale == "smoke":
            return {"main": common_bed(scale)}
        small = {role: Bed(train=size, hidden=(32,), side=7) for role, size in DIGITSS.items()}
        return {"main": common_bed(scale), "ghost": Bed(train=2048, norm=f"ghost-{GHOSTS}")} | small

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        bases = {"main": BASE, "ghost": GHOSTS, "small": BASE}
        names = {"main": "tuning"}
        return {
            names.get(role, f"{role} tuning"): tuned_base(facts[role], scale, base)
            for role, base in bases.items()
            if role in facts
        }

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        found = rule_arms(exhibit, ("linear",))
        for role, tuned_on in {"ghost": "ghost", "small": "small", "double": "small", "quadruple": "small"}.items():
            rate = base_rate(exhibit, f"{tuned_on} tuning", role=tuned_on) if role in exhibit.facts else None
            if rate is not None:
                factors, base = ((1, 4, 16, 32), GHOSTS) if role == "ghost" else (FEW[exhibit.scale], BASE)
                found[role] = scaled(exhibit.facts[role], exhibit.scale, rate, factors, base=base)
        return found

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        losses = lost(exhibit, "linear")
        ghosts = lost(exhibit, "ghost", role="ghost", base=GHOSTS)
        largest = max(losses, default=0)
        parts = [
            kept(exhibit, f"nothing is lost up to {KEPT} times the base batch size", losses),
            direction(
                "something is lost at the largest batch size", losses.get(largest, np.array([])),
                unit=f"test {facts.metric}",
                definition=f"test {facts.metric} at batch size {BASE} less that at {BASE * largest}",
            ),
            _curves(exhibit, largest),
        ]  # fmt: skip
        if "ghost" in exhibit.facts:
            parts.append(
                kept(exhibit, "with ghost batch normalisation nothing is lost", ghosts, role="ghost", counts=False)
            )
            parts += [_shift(exhibit, role) for role in ("double", "quadruple")]
        limit = largest_kept(losses, accuracy_margin(facts.test_size))
        notes = [f"the mean loss stays within the margin up to {limit} times the base batch size"] if losses else []
        shown = {"main": losses, "ghost batch normalisation": ghosts}
        return verdict(self.id, exhibit, parts, figure=picture(exhibit, shown), notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        def behind(arm: str, factor: float) -> float:
            if world == "false":
                return 0.9 * np.log2(factor)
            return 0.8 * max(np.log2(factor) - 3, 0.0) ** 1.5

        return made_up(generator, world, behind)


def _curves(exhibit: Exhibit, largest: int) -> Part:
    """Return the test of "training curves lie closer at four times the base batch size than at the largest"."""
    apart = np.array([])
    if "linear" in exhibit.arms and largest > KEPT:
        grid = arm_grid(exhibit, "linear")
        if {BASE, BASE * KEPT, BASE * largest} <= set(grid.batch_sizes()):
            base, near, far = (_curve(grid, BASE * factor, exhibit.scale) for factor in (1, KEPT, largest))
            apart = np.abs(far - base).mean(0) - np.abs(near - base).mean(0)
    return direction(
        f"training curves lie closer to the base's at {KEPT} times its batch size than at the largest", apart,
        unit="loss", definition="mean |difference of training losses| after a fifth of the epochs, largest less "
        f"{KEPT} times", counts=False,
    )  # fmt: skip


def _curve(grid: Grid, batch_size: int, scale: Scale) -> np.ndarray:
    """Return training losses at places along the settled part of the epochs, shape (place, seed)."""
    places = np.linspace(SETTLED, 1.0, COMPARED) * EPOCHS[scale].epochs
    return np.stack([grid.table(batch_size, at("epochs", place, "train_loss", grid.facts))[0] for place in places])


def _shift(exhibit: Exhibit, role: str) -> Part:
    """Return the test of "the limit moves by less than a doubling", against the smallest training set."""
    facts = exhibit.facts[role]
    level = 2 * accuracy_margin(facts.test_size)
    times = round((facts.train_size or 0) / DIGITSS["small"])
    told = {
        "unit": "doublings of the batch size",
        "definition": f"log2 of the factor at which {level:g} of the metric is lost, with {times} times the training "
        "examples less that with the fewest",
    }
    both = [lost(exhibit, one, role=one) for one in (role, "small")]
    rows = [log_elbows(losses, level) for losses in both if losses and np.isfinite(list(losses.values())).all()]
    seen = {len(one) - 1 for one in rows}  # seeds
    if len(rows) < 2 or len(seen) > 1 or min(seen) < 2 or not np.isfinite(rows).all():
        effect = Estimate.missing(
            "the loss does not pass its level within the batch sizes tried, or runs are missing", **told
        )
    else:
        count = seen.pop()
        groups = leave_one_out([count], paired=True)[1]
        effect = replicate_estimate(
            rows[0] - rows[1], groups, level=0.95, count=count, method="delete-one jackknife over paired seeds", **told
        )
    return band(f"the limit moves by less than a doubling with {times} times the data", effect, -1.0, 1.0, counts=False)


@final
class GradualWarmup(Claim):
    """Read at the limit of linear scaling, at twice and at four times that; the limit is found on validation."""

    id = "GOY-2"
    statement = "At the largest batch sizes a gradual warm-up rescues the accuracy, and a constant one does not."
    source = SOURCE
    about = "optimization"
    kinds = (Kind.DIRECTION,)
    budget = BUDGET
    policy = POLICY + ", with three kinds of warm-up over the first 5 epochs"
    published = "ResNet-50 at batch size 8k, validation error in %: none 24.84, constant 25.88, gradual 23.74 (paper)"

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"tuning": tuned_base(facts["main"], scale)}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        rate = base_rate(exhibit, "tuning")
        if rate is None:
            return {}
        late = [factor for factor in FACTORS[exhibit.scale] if factor >= KEPT]
        ask = functools.partial(scaled, exhibit.facts["main"], exhibit.scale, rate, late)
        return rule_arms(exhibit, ("linear",)) | {name: ask(warmup=name) for name in ("none", "constant")}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        margin = accuracy_margin(facts.test_size)
        limit = max(largest_kept(lost(exhibit, "linear", facts.selection_split), margin), KEPT)
        quantity = f"test_{facts.metric}"
        by_arm = {arm: ends(exhibit, arm, quantity) for arm in ("linear", "none", "constant")}
        shared = set.intersection(*(set(by) for by in by_arm.values()))
        read = sorted(shared & {BASE * limit * times for times in (1, 2, 4)})
        gradual, none, constant = (
            turned(facts) * np.mean([by[size] for size in read], axis=0) if read else np.array([])
            for by in by_arm.values()
        )
        where = f"mean over batch sizes {', '.join(map(str, read))}"
        told = {"unit": f"test {facts.metric}", "margin": margin}
        parts = [
            direction(
                "a gradual warm-up is better than none", gradual - none,
                definition=f"test {facts.metric} with a gradual warm-up less that without, {where}", **told,
            ),
            none_beats(
                "a constant warm-up is no better than none", [none - constant],
                definition=f"test {facts.metric} without warm-up less that with a constant one, {where}", **told,
            ),
        ]  # fmt: skip
        notes = [f"linear scaling with a gradual warm-up holds up to {limit} times the base batch size on validation"]
        lines = tuple(line(arm, list(by), np.stack(list(by.values()), 1)) for arm, by in by_arm.items() if by)
        figure = Figure("batch size", f"test {facts.metric}", lines)
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes if read else ())

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        more = {"linear": 1.5} if world == "false" else {"none": 1.2, "constant": 1.6}

        def behind(arm: str, factor: float) -> float:
            return 0.5 * max(np.log2(factor) - 4, 0.0) + more.get(arm, 0.0) * (factor > KEPT)

        return made_up(generator, world, behind)


@final
class LinearBeatsOthers(Claim):
    """The three rules at 32 times the base batch size, or the largest below that the task has room for."""

    id = "GOY-3"
    statement = (
        "At equal epochs the linear rule is better than the square-root rule, and that than a fixed learning rate."
    )
    source = SOURCE
    about = "optimization"
    kinds = (Kind.DIRECTION,)
    budget = BUDGET
    policy = POLICY + ": linear, square root, or not at all, each with a gradual warm-up"
    published = (
        "ResNet-50 at batch size 8k, validation error in %: linear 23.74, square root 26.22, fixed 41.67 (paper)"
    )

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"tuning": tuned_base(facts["main"], scale)}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        return rule_arms(exhibit, tuple(RULES))

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        by_rule = {rule: lost(exhibit, rule) for rule in RULES}
        shared = set.intersection(*(set(by) for by in by_rule.values()))
        factor = max((one for one in shared if one <= 32), default=0)
        linear, root, fixed = (by[factor] if shared else np.array([]) for by in by_rule.values())
        told = {"unit": f"test {facts.metric}", "margin": accuracy_margin(facts.test_size)}
        parts = [
            direction(f"the {one} rule is better than {other}", worse - better,
                      definition=f"test {facts.metric} at {factor} times batch size {BASE}, difference of the rules", **told)
            for one, other, better, worse in (
                ("linear", "the square-root rule", linear, root), ("square-root", "a fixed rate", root, fixed)
            )
        ]  # fmt: skip
        best = {one: min(RULES, key=lambda rule: float(by_rule[rule][one].mean())) for one in sorted(shared)}
        notes = (
            ["best rule by mean: " + ", ".join(f"{rule} at {one} times" for one, rule in best.items())] if best else []
        )
        return verdict(self.id, exhibit, parts, figure=picture(exhibit, by_rule), notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        lag = {"linear": 0.15, "sqrt": 0.5, "fixed": 1.0} | ({"linear": 0.8} if world == "false" else {})
        return made_up(generator, world, lambda arm, factor: lag.get(arm, 0.0) * np.log2(factor))


@final
class OptimizationNotGeneralization(Claim):
    """What batch sizes lose in testing beyond what their training loss explains, over three rules for the learning rate.

    For each seed the lost test metric of all rules and batch sizes is regressed on a cubic in the difference of log
    training loss (both against the base batch size, hence without a constant) and on log2 batch size.
    """

    id = "GOY-4"
    statement = "What large batches lose in test accuracy is explained by their higher training loss: they are hard to optimize."
    source = SOURCE + "; against: Keskar et al. (2016), arXiv:1609.04836"
    about = "optimization"
    kinds = (Kind.EQUIVALENCE,)
    budget = BUDGET
    policy = POLICY + ": linear, square root, or not at all, each with a gradual warm-up"

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"tuning": tuned_base(facts["main"], scale)}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        return rule_arms(exhibit, tuple(RULES))

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        tests = {rule: lost(exhibit, rule) for rule in RULES}
        losses = {rule: log_losses(exhibit, rule) for rule in RULES}
        largest = max(tests["linear"], default=0)
        unexplained = np.log2(max(largest, 1)) * residual_slopes(tests, losses)
        parts = [
            equivalence(
                "the batch size itself costs nothing", unexplained, margin=accuracy_margin(facts.test_size),
                unit=f"test {facts.metric}",
                definition=f"test {facts.metric} lost at {largest} times batch size {BASE} beyond what training loss explains",
            ),
            direction(
                "the linear rule's training loss is higher at the largest batch size",
                losses["linear"].get(largest, np.array([])), unit="log loss",
                definition=f"log training loss at {largest} times batch size {BASE} less that at {BASE}", counts=False,
            ),
        ]  # fmt: skip
        means = {
            rule: sorted((float(losses[rule][one].mean()), float(tests[rule][one].mean()))
                         for one in losses[rule].keys() & tests[rule].keys())
            for rule in RULES
        }  # fmt: skip
        known = {rule: [pair for pair in pairs if np.isfinite(pair).all()] for rule, pairs in means.items()}
        lines = tuple(Line(rule, tuple((x, None, y, None) for x, y in pairs)) for rule, pairs in known.items() if pairs)
        x, y = "log training loss, difference from the base batch size", f"test {facts.metric} lost"
        return verdict(self.id, exhibit, parts, figure=Figure(x, y, lines, log_x=False))

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        lag = {"linear": 0.2, "sqrt": 0.4, "fixed": 0.6}
        own = 0.0025 if world == "false" else 0.0
        return made_up(
            generator,
            world,
            lambda arm, factor: lag.get(arm, 0.0) * np.log2(factor),
            cost=lambda factor: own * np.log2(factor),
        )
