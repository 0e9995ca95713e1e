"""What holds for every claim of the registry."""

import dataclasses
import re

import numpy as np
import polars as pl
import pytest

from critbatch.claim import Claim, Exhibit, Kind, Outcome, World, verdict_json
from critbatch.claims import registry
from critbatch.finding import TaskFacts
from critbatch.judging.worlds import exhibit_from, exhibit_in
from critbatch.record import RECORD_SCHEMA, RUN_SCHEMA, Evidence

CLAIMS = list(registry().values())
FEWEST_SEEDS = 5
every = pytest.mark.parametrize("claim", CLAIMS, ids=lambda one: one.id)
OWN = TaskFacts(
    name="somebody's", revision="r", train_size=100, test_size=50, validation_size=None, parameters=10, metric="loss",
    better="below", selection_split="test", target_quantity=None, target_value=None, target_direction=None,
    target_origin="none",
)  # fmt: skip
NO_RUNS = Evidence(pl.DataFrame(schema=RUN_SCHEMA), pl.DataFrame(schema={"run": pl.String} | RECORD_SCHEMA))


def first_arms(claim: Claim, scale: str = "full", facts: TaskFacts | None = None) -> dict:
    known = {role: bed.facts() for role, bed in claim.beds(scale).items()} if facts is None else {"main": facts}
    return {arm: plan.runs for arm, plan in claim.arms(scale, known).items()}


@every
def test_says_what_it_claims_and_who_claims_it(claim):
    assert re.fullmatch(r"[A-Z]+-?\d+", claim.id)
    assert claim.statement.endswith((".", "?"))
    assert claim.source
    assert claim.budget
    assert claim.policy
    assert claim.kinds
    assert claim.about in {"optimization", "generalization", "hardware"}
    assert "unverified" not in claim.published
    assert not re.search(r"\d", claim.published) or re.search(
        r"\((paper|second-hand|derived|founding)", claim.published
    )


@every
def test_asks_for_runs_on_its_own_beds(claim):
    for scale in ("smoke", "full"):
        arms = first_arms(claim, scale)
        assert arms
        assert any(arms.values())
        names = {bed.name for bed in claim.beds(scale).values()}
        assert {run.task for plan in arms.values() for run in plan} <= names


@every
def test_runs_on_a_task_of_ones_own_or_says_why_not(claim):
    if claim.why_not_yours:
        assert claim.why_not_yours.endswith(".")
        return
    for scale in ("smoke", "full"):
        arms = first_arms(claim, scale, OWN)
        assert {run.task for plan in arms.values() for run in plan} == {OWN.name}
        assert max(run.batch_size for plan in arms.values() for run in plan) <= 100


@every
def test_nothing_can_be_concluded_from_nothing(claim):
    facts = {role: bed.facts() for role, bed in claim.beds("full").items()}
    arms = first_arms(claim)
    empty = Exhibit("full", facts, arms, NO_RUNS)
    assert claim.next_arms(empty) is not None
    verdict = claim.judge(empty)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.reason
    verdict_json(verdict, claim)


@every
def test_can_win_lose_and_stay_open_and_says_what_was_measured(claim):
    whole = exhibit_in(claim, "true", 0)
    first = claim.judge(whole)
    assert first.parts
    assert first.reason
    assert first.claim == claim.id
    assert first.runs
    assert verdict_json(first, claim)["effect"]["unit"] is not None
    for part in first.parts:
        assert part.threshold
        assert part.effect.value is not None or part.effect.reason
    for one in () if first.figure is None else first.figure.lines:
        assert all(np.isfinite(value) for _, _, value, _ in one.points)
    most = max(len({run.seed for run in plan}) for plan in whole.arms.values())
    assert most >= FEWEST_SEEDS or claim.kinds == (Kind.EXACT,), f"{most} seeds"
    assert_open_on_one_seed(claim, whole)
    wanted = {"true": claim.affirmation(), "false": claim.negation(), "silent": {Outcome.INCONCLUSIVE}}
    for world, outcomes in wanted.items():
        seen = [first.outcome] if world == "true" else [judged(claim, world, 0)]
        if seen[0] not in outcomes:  # chance has one miss in three
            seen += [judged(claim, world, seed) for seed in (1, 2)]
        assert sum(one in outcomes for one in seen) >= len(seen) - 1, (world, seen)


def judged(claim: Claim, world: World, seed: int) -> Outcome:
    return claim.judge(exhibit_in(claim, world, seed)).outcome


def assert_open_on_one_seed(claim: Claim, whole: Exhibit) -> None:
    alone = {arm: tuple(run for run in plan if run.seed == plan[0].seed) for arm, plan in whole.arms.items() if plan}
    ids = [run.id for plan in alone.values() for run in plan]
    tables = (whole.evidence.runs, whole.evidence.records)
    evidence = Evidence(*(one.filter(pl.col("run").is_in(ids)) for one in tables))
    single = dataclasses.replace(whole, arms=alone, evidence=evidence)
    assert claim.judge(single).outcome is Outcome.INCONCLUSIVE or claim.kinds == (Kind.EXACT,)


@every
def test_survives_runs_that_all_diverged(claim):
    facts = {role: bed.facts() for role, bed in claim.beds("full").items()}
    verdict = claim.judge(exhibit_from(claim, facts, "full", lambda arm, run, looks: None))
    assert verdict.outcome not in claim.affirmation(), verdict.reason
