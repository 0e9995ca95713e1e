"""Claims put to the test: what they ask for is trained or looked up, and judged."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import polars as pl

from .archive import Archive, thin
from .bed import Bed
from .beds import build
from .claim import Claim, Exhibit, Scale, Verdict
from .finding import TaskFacts
from .plan import Plan
from .record import Evidence
from .study import Workshop, example_seconds, task_facts, train_missing
from .task import Task

Fetch = Callable[[Plan], Evidence]


@final
@dataclass(frozen=True)
class Judged:
    """A claim with its verdict, or with the reason why there is none.

    Attributes:
        claim: Which.
        verdict: What the evidence says, or None.
        reason: Why there is no verdict.
        exhibit: What was judged, or None.
        seconds: Of this computer, for what had to be trained, and judging.
    """

    claim: Claim
    verdict: Verdict | None
    reason: str
    exhibit: Exhibit | None
    seconds: float


def inquire(
    claims: Sequence[Claim], scale: Scale, shop: Workshop, *, own: Task | None = None, first_seed: int = 0,
    archive: Archive | None = None,
) -> Iterator[Judged]:  # fmt: skip
    """Yield the verdict of each claim as soon as it is there; runs that the store has are not trained again.

    Args:
        claims: In this order.
        scale: "smoke" or "full".
        shop: Where runs are trained and kept.
        own: A task to try the claims on instead of their own test beds; claims that cannot say why.
        first_seed: Added to every seed, to repeat an experiment with fresh randomness.
        archive: Runs that are there are not trained; what is judged is added to it.
    """
    kept = archive or Archive()
    for claim in claims:
        started = time.perf_counter()
        if own is not None and claim.why_not_yours:
            yield Judged(claim, None, claim.why_not_yours, None, 0.0)
            continue
        try:
            tasks = {"main": own} if own is not None else {role: made(bed) for role, bed in claim.beds(scale).items()}
        except (ValueError, OSError) as error:  # data that are not there
            yield Judged(claim, None, str(error), None, time.perf_counter() - started)
            continue
        facts = {role: _facts(task, is_bed=own is None) for role, task in tasks.items()}
        by_name = {task.name: task for task in tasks.values()}
        spent: list[float] = []
        fetch = functools.partial(_trained, by_name, shop, kept, claim.id, spent)
        exhibit = gathered(claim, scale, facts, fetch, first_seed=first_seed)
        kept.add(exhibit.evidence, facts.values())
        if spent:
            kept.seconds[claim.id] = round(kept.seconds.get(claim.id, 0.0) + sum(spent), 1)
        yield Judged(claim, claim.judge(exhibit), "", exhibit, time.perf_counter() - started)


def reconsider(claims: Sequence[Claim], archive: Archive) -> Iterator[Judged]:
    """Yield the verdict of each claim on its own test beds from an archive; nothing is trained, no data are read."""
    for claim in claims:
        started = time.perf_counter()
        beds = claim.beds("full")
        if missing := [bed.name for bed in beds.values() if bed.name not in archive.facts]:
            yield Judged(claim, None, f"the archive has no runs on {', '.join(missing)}", None, 0.0)
            continue
        facts = {role: archive.facts[bed.name] for role, bed in beds.items()}
        wanted = {run.id for plan in claim.arms("full", facts).values() for run in plan.runs}
        if missing := sum(not archive.holds(one) for one in wanted):
            yield Judged(claim, None, f"the archive lacks {missing} of its {len(wanted)} first runs", None, 0.0)
            continue
        exhibit = gathered(claim, "full", facts, lambda plan: archive.evidence(run.id for run in plan.runs))
        wanted = {run.id for plan in exhibit.arms.values() for run in plan}
        if missing := sum(not archive.holds(one) for one in wanted):
            yield Judged(claim, None, f"the archive lacks {missing} of its {len(wanted)} runs", None, 0.0)
            continue
        yield Judged(claim, claim.judge(exhibit), "", exhibit, time.perf_counter() - started)


def gathered(
    claim: Claim, scale: Scale, facts: Mapping[str, TaskFacts], fetch: Fetch, *, first_seed: int = 0
) -> Exhibit:  # fmt: skip
    """Return the evidence that a claim asks for, in its two stages.

    Args:
        claim: Says what.
        scale: Of the protocol.
        facts: Of the tasks, by role.
        fetch: Returns the evidence of runs.
        first_seed: Added to every seed.
    """
    arms = _shifted(claim.arms(scale, facts), first_seed)
    first = Exhibit(scale, facts, {arm: plan.runs for arm, plan in arms.items()}, fetch(_union(arms)))
    more = _shifted(claim.next_arms(first), first_seed)
    if not more:
        return first
    arms |= more
    return Exhibit(scale, facts, {arm: plan.runs for arm, plan in arms.items()}, fetch(_union(arms)))


@functools.lru_cache(maxsize=32)
def made(bed: Bed) -> Task:
    """Return the task of a test bed, the same object again."""
    return build(bed)


def _facts(task: Task, *, is_bed: bool) -> TaskFacts:
    return dataclasses.replace(task_facts(task, None), is_bed=is_bed)


def _shifted(arms: Mapping[str, Plan], first_seed: int) -> dict[str, Plan]:
    if not first_seed:
        return dict(arms)
    return {
        arm: Plan(tuple(dataclasses.replace(run, seed=run.seed + first_seed) for run in plan.runs))
        for arm, plan in arms.items()
    }


def _union(arms: Mapping[str, Plan]) -> Plan:
    return Plan(tuple(run for plan in arms.values() for run in plan.runs))


def _trained(
    tasks: Mapping[str, Task], shop: Workshop, archive: Archive, stage: str, spent: list[float], plan: Plan
) -> Evidence:  # fmt: skip
    """Return the evidence of runs of several tasks, one task after another; what an archive holds comes from there.

    Seconds of training are added to `spent`.
    """
    wanting = [run for run in plan.runs if not archive.holds(run.id)]
    for task in tasks.values():
        mine = Plan(tuple(run for run in wanting if run.task == task.name))
        if len(shop.store.finished(run.id for run in mine.runs)) == len(mine):
            continue
        steps: dict[int, float] = {}
        for run in mine.runs:
            steps[run.batch_size] = steps.get(run.batch_size, 0.0) + run.budget.most_steps(
                run.batch_size, len(task.train)
            )
        started = time.perf_counter()
        train_missing(task, mine, shop, f"{stage} on {task.name}", steps, example_seconds(task))
        spent.append(time.perf_counter() - started)
    there, new = archive.evidence(run.id for run in plan.runs), thin(shop.store.evidence([run.id for run in wanting]))
    return Evidence(pl.concat([there.runs, new.runs]), pl.concat([there.records, new.records]))
