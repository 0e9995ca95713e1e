"""QA-8: the question itself. Does a small learning rate, or a small batch, early on help training with large batches?"""

import functools
from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Track
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.linear_scaling import (
    BASE,
    EPOCHS,
    FACTORS,
    KEPT,
    OPTIMIZER,
    made_up,
    rule_arms,
    scaled,
    tuned_base,
)
from ..judging.parts import direction, equivalence, metric_margin, verdict
from ..judging.protocol import order, runs, seeds
from ..judging.reading import arm_grid, at_end
from ..judging.scaled import base_rate, ends, turned
from ..plan import Plan, Run
from ..samplings.growing import Growing
from ..schedules.milestones import Milestones

RAMPS = {"full": Growing((2, 4, 5), (1 / 8, 1 / 4, 1 / 2, 1.0)), "smoke": Growing((1,), (1 / 8, 1.0))}
LEARNT = 0.5  # share of the first training loss below which a run has to end to have trained
ARMS = {"linear": "gradual warm-up", "none": "none", "constant": "constant warm-up", "ramp": "batch ramp"}


@final
class EarlySmallSteps(Claim):
    """Judged at the largest batch size at which training without any warm-up still works.

    A gradual warm-up has to be better than none there. Reported are whether it is as good as the small batch size whose
    rate was tuned (a help may be less than all), a constant warm-up, and a ramp of the batch size from an eighth, all
    over the first 5 epochs. On the ramp the rate is in proportion to the batch size, as it is everywhere.
    """

    id = "QA-8"
    statement = "A small learning rate or a small batch early on helps training with large batches."
    source = "the founding question; Goyal et al. (2017), arXiv:1706.02677, Section 2.2"
    about = "optimization"
    kinds = (Kind.DIRECTION,)
    budget = "equal epochs (30)"
    policy = (
        "tuned at batch size 16 on validation (seven rates a factor of 2 apart), then in proportion to the batch size"
    )
    published = "ResNet-50 at batch size 8k, validation error in %: none 24.84, constant 25.88, gradual 23.74 (paper)"

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"tuning": tuned_base(facts["main"], scale)}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        facts, scale, rate = exhibit.facts["main"], exhibit.scale, base_rate(exhibit, "tuning")
        if rate is None:
            return {}
        late = [factor for factor in FACTORS[scale] if factor >= KEPT]
        ask = functools.partial(scaled, facts, scale, rate, late)
        return rule_arms(exhibit, ("linear",)) | {
            "none": ask(warmup="none"), "constant": ask(warmup="constant"), "ramp": _ramp(facts, scale, rate, late),
        }  # fmt: skip

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        tests = {arm: ends(exhibit, arm, f"test_{facts.metric}") for arm in ARMS}
        size = _largest_trained(exhibit)
        empty = np.array([])
        base = tests["linear"].get(BASE, empty)
        gradual, none, constant, ramp = (tests[arm].get(size, empty) for arm in ARMS)
        where = f"at batch size {size}" if size else "where training works without a warm-up"
        told = {"unit": f"test {facts.metric}", "margin": metric_margin(facts, base)}
        parts = [
            direction(f"{name} is better than {other}", turned(facts) * _less(one, another), counts=name == ARMS["linear"],
                      definition=f"test {facts.metric} with {name} less that with {other}, {where}", **told)
            for name, other, one, another in (
                (ARMS["linear"], "none", gradual, none), (ARMS["ramp"], "none", ramp, none),
                (ARMS["constant"], "none", constant, none),
            )
        ]  # fmt: skip
        same = equivalence(
            "gradual warm-up is as good as the small batch size", _less(gradual, base), counts=False,
            definition=f"test {facts.metric} with a gradual warm-up {where} less that at batch size {BASE}", **told,
        )  # fmt: skip
        lines = tuple(
            line(name, [*tests[arm]], np.stack([*tests[arm].values()], 1)) for arm, name in ARMS.items() if tests[arm]
        )
        figure = Figure("batch size", f"test {facts.metric}", lines) if lines else None
        notes = [f"the largest batch size that trains without a warm-up is {size}"] if size else []
        return verdict(self.id, exhibit, [parts[0], same, *parts[1:]], figure=figure, notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        def behind(arm: str, factor: float) -> float:
            if arm == "tuning" or factor == 1:
                return 0.0
            if world == "false":
                return 1.5
            return {"linear": 0.1, "ramp": 0.3}.get(arm, 1.2)

        found = made_up(generator, world, behind)

        def values(arm: str, run: Run, looks: np.ndarray) -> Mapping[str, np.ndarray | float] | None:
            lost = arm in ("none", "constant") and run.batch_size > 16 * BASE and world != "silent"
            return None if lost else found(arm, run, looks)

        return values


def _ramp(facts: TaskFacts, scale: Scale, rate: float, factors: list[int]) -> Plan:
    """Return runs at `factors` times the base batch size and rate that begin with an eighth of the batch.

    The engine scales the step of a smaller batch by its share, which is the rate in proportion to the batch size.
    """
    found = Plan(())
    for factor in factors:
        if factor * BASE > (facts.train_size or 0):
            continue
        shares = RAMPS[scale]
        found += runs(
            facts, batch_sizes=[factor * BASE], rates=[rate * factor], seeds=seeds(scale), budget=EPOCHS[scale],
            optimizer=OPTIMIZER, schedule=Milestones(),
            sampling=Growing(shares.epochs, shares.shares, order(facts, factor * BASE).last_batch),
        )  # fmt: skip
    return found


def _largest_trained(exhibit: Exhibit) -> int:
    """Return the largest batch size at which every seed trains without a warm-up; 0 if there is none."""
    if "none" not in exhibit.arms:
        return 0
    grid = arm_grid(exhibit, "none")
    return max((size for size in grid.batch_sizes() if (grid.table(size, _has_trained) == 1).all()), default=0)


def _has_trained(track: Track) -> float:
    """Return 1 for a run whose training loss ends well below where it began, else 0."""
    losses, end = track.values.get("train_loss"), at_end("train_loss")(track)
    return float(losses is not None and end < LEARNT * losses[0])


def _less(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return one - other if len(one) == len(other) else np.array([])
