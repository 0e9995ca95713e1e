"""Evidence made up in a world where a claim is true, or false, or where nothing can be told."""

import functools
from collections.abc import Mapping

import numpy as np
import polars as pl

from ..claim import WORLDS, Claim, Exhibit, Imagined, Outcome, Scale, World
from ..finding import TaskFacts
from ..measurement import look_steps
from ..plan import Plan, Run
from ..record import RECORD_SCHEMA, RUN_SCHEMA, Ending, Evidence

LOOKS_PER_DECADE = 8
MOST_STEPS = 1e7


def exhibit_in(claim: Claim, world: World, seed: int, *, scale: Scale = "full") -> Exhibit:
    """Return made-up evidence for a claim, at the plan of `scale`.

    Args:
        claim: Says what its runs would have recorded.
        world: true, false or silent.
        seed: Of this world's draws.
        scale: Which plan.
    """
    facts = {role: bed.facts() for role, bed in claim.beds(scale).items()}
    return exhibit_from(claim, facts, scale, claim.imagine(world, np.random.default_rng([seed, WORLDS.index(world)])))


def exhibit_from(claim: Claim, facts: Mapping[str, TaskFacts], scale: Scale, imagined: Imagined) -> Exhibit:
    """Return what a claim's runs, both stages, leave behind if they record what `imagined` says."""
    arms = {arm: plan.runs for arm, plan in _first_arms(claim, scale).items()}
    exhibit = Exhibit(scale, facts, arms, _evidence(arms, facts, imagined))
    more = {arm: plan.runs for arm, plan in claim.next_arms(exhibit).items()}
    if not more:
        return exhibit
    arms |= more
    return Exhibit(scale, facts, arms, _merged(exhibit.evidence, _evidence(more, facts, imagined)))


def share(claim: Claim, world: World, count: int, *, scale: Scale = "full") -> dict[Outcome, float]:
    """Return how often the judge gives each outcome over `count` made-up worlds."""
    found = [claim.judge(exhibit_in(claim, world, seed, scale=scale)).outcome for seed in range(count)]
    return {outcome: found.count(outcome) / count for outcome in Outcome}


@functools.lru_cache(maxsize=2)
def _first_arms(claim: Claim, scale: Scale) -> Mapping[str, Plan]:
    return claim.arms(scale, {role: bed.facts() for role, bed in claim.beds(scale).items()})


@functools.lru_cache(maxsize=100_000)
def _row(run: Run) -> dict[str, object]:
    return run.row()


def _evidence(
    arms: Mapping[str, tuple[Run, ...]], facts: Mapping[str, TaskFacts], imagined: Imagined
) -> Evidence:  # fmt: skip
    sizes = {one.name: one.train_size or 1 for one in facts.values()}
    rows: dict[str, dict[str, object]] = {}
    names: dict[str, int] = {}
    parts: list[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]] = []  # run, quantity, steps, examples, values
    for arm, plan in arms.items():
        for run in plan:
            if run.id in rows:
                continue
            most = min(run.budget.most_steps(run.batch_size, sizes[run.task]), MOST_STEPS)
            looks = _looks(int(most))
            values = imagined(arm, run, looks)
            ending = Ending.DIVERGED if values is None else Ending.BUDGET
            steps = int(looks[-1])
            rows[run.id] = {**_row(run), "ending": ending.name, "steps": steps, "examples": steps * run.batch_size,
                            "seconds": 1.0, "note": ""}  # fmt: skip
            examples = looks * run.batch_size
            for quantity, given in (values or {"train_loss": np.inf}).items():
                numbers = np.broadcast_to(np.asarray(given, dtype=float), looks.shape)
                parts.append((len(rows) - 1, names.setdefault(quantity, len(names)), looks, examples, numbers))
    return Evidence(pl.DataFrame(list(rows.values()), schema=RUN_SCHEMA), _records(list(rows), list(names), parts))


def _records(
    ids: list[str], names: list[str], parts: list[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]]
) -> pl.DataFrame:  # fmt: skip
    """Return the record table of columns that are given in pieces, with runs and quantities by number."""
    if not parts:
        return pl.DataFrame(schema={"run": pl.String} | RECORD_SCHEMA)
    lengths = [len(looks) for _, _, looks, _, _ in parts]
    runs, quantities = np.repeat([part[0] for part in parts], lengths), np.repeat([part[1] for part in parts], lengths)
    steps, examples, values = (np.concatenate([part[place] for part in parts]) for place in (2, 3, 4))
    return pl.DataFrame({
        "run": pl.Series(ids).gather(runs), "step": steps, "examples": examples, "seconds": steps / steps.max(),
        "quantity": pl.Series(names).gather(quantities), "value": values,
    })  # fmt: skip


@functools.lru_cache(maxsize=512)
def _looks(most: int) -> np.ndarray:
    steps = [step for step in look_steps(LOOKS_PER_DECADE) if step < most]
    return np.array([*steps, most])


def _merged(one: Evidence, other: Evidence) -> Evidence:
    tables = ((one.runs, other.runs), (one.records, other.records))
    runs, records = (pl.concat(pair) for pair in tables)
    new = other.runs.filter(~pl.col("run").is_in(one.runs["run"].to_list()))["run"].to_list()
    kept = [*one.runs["run"].to_list(), *new]
    return Evidence(runs.unique("run", keep="first", maintain_order=True), records.filter(pl.col("run").is_in(kept)).unique(
        ["run", "step", "quantity"], keep="first", maintain_order=True))  # fmt: skip
