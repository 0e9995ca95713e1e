"""From evidence to a finding, all but the recommendation."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from ..curve import Curve
from ..finding import Finding, TaskFacts
from ..record import Ending, Evidence
from ..scaling_rule import ScalingRule
from .batch_sizes import batch_size_row, cells, target_winners
from .choice import Choice, choose
from .curves_over_time import curve_points
from .definitions import definitions, regime_of, regimes
from .flips import flips
from .grid import Grid, grid
from .joint import joint_fit
from .noise_along import noise_along
from .pareto import pareto, step_seconds, time_optimal
from .ramps import apart, compare_ramps
from .rates import learning_rate_rule
from .readings import readings
from .solutions import solutions
from .target_choice import with_target
from .target_curve import fit_curve
from .targets import targets
from .tuning import tuning

STRETCHED = [
    "the schedule is stretched over each run's budget: batch sizes are compared at the end of this budget alone, and steps "
    "to target belong to this horizon"
]


@final
@dataclass(frozen=True)
class Circumstances:
    """What the evidence itself does not say: where and how it was made."""

    device: str
    versions: dict[str, str]
    plan: dict[str, Any]


def choices(
    evidence: Evidence, facts: TaskFacts, *, seeds: Sequence[int] = ()
) -> tuple[Grid, dict[int, Choice]]:  # fmt: skip
    """Return the grid of these seeds (default: all), with a target, and the learning rate choice at each batch size."""
    arranged = with_target(grid(evidence, facts, seeds=seeds))
    return arranged, {size: choose(arranged, size) for size in arranged.batch_sizes()}


def assemble(
    evidence: Evidence, facts: TaskFacts, circumstances: Circumstances, *, curve: Curve, rules: dict[str, ScalingRule]
) -> Finding:  # fmt: skip
    """Return everything that the evidence of one sweep says, without a recommendation.

    Args:
        evidence: Of the sweep's runs.
        facts: The task's.
        circumstances: For the record.
        curve: Fitted to steps to target.
        rules: Learning rate scaling rules to compare with, by name.
    """
    plan = circumstances.plan
    everything = evidence
    evidence, steered = apart(evidence)
    arranged, chosen = choices(evidence, facts, seeds=plan.get("seeds", ()))
    fresh = grid(evidence, arranged.facts, seeds=plan["fresh_seeds"]) if plan.get("fresh_seeds") else None
    horizon = stretched_over(plan)
    budgets = readings(arranged, stretched_over=horizon)
    winners = target_winners(arranged, chosen, fresh)
    fit = fit_curve(chosen, curve)
    rule = learning_rate_rule(chosen, rules)
    noise = noise_along(evidence, facts)
    joint = joint_fit(chosen)
    known = regimes(fit)
    found = (batch_size_row(arranged, size, choice, fresh) for size, choice in chosen.items())
    rows = tuple(dataclasses.replace(row, regime=regime_of(row.batch_size, known)) for row in found)
    return Finding(
        task=arranged.facts,
        device=circumstances.device,
        versions=circumstances.versions,
        plan=plan,
        seconds=float(everything.runs["seconds"].sum()),
        endings={ending.name: int((everything.runs["ending"] == ending.name).sum()) for ending in Ending},
        batch_sizes=rows,
        budgets=budgets,
        flips=flips(budgets, winners),
        fit=fit,
        noise_scale=noise,
        learning_rate_rule=rule,
        recommendation=None,
        recommendation_reason=None,
        claims=(),
        cells=tuple(cell for size, choice in chosen.items() for cell in cells(arranged, size, choice)),
        curves=curve_points(arranged, chosen),
        warnings=tuple(
            _failures(everything) + _warnings(arranged, chosen, evidence) + (STRETCHED if horizon is not None else [])
        ),
        target_winners=winners,
        critical_batch_sizes=definitions(fit, joint, noise),
        regimes=known,
        targets=targets(arranged, chosen, curve),
        tuning=tuning(chosen),
        joint_fit=joint,
        pareto=pareto(rows, step_seconds(arranged)),
        time_optimal=time_optimal(arranged, fit),
        solutions=solutions(evidence),
        ramps=compare_ramps(evidence, steered, arranged, fresh_seeds=plan.get("fresh_seeds", ())),
    )


def stretched_over(plan: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the budgets at whose end runs with this plan's schedule may be compared; None for a constant one."""
    if plan.get("schedule", {}).get("kind", "Constant") == "Constant":
        return None
    kinds = {"Epochs": ("epochs", "examples"), "Examples": ("epochs", "examples"), "Steps": ("updates",)}
    return kinds.get(plan.get("budget", {}).get("kind", ""), ())


def _failures(evidence: Evidence) -> list[str]:
    failed = evidence.runs.filter(evidence.runs["ending"] == Ending.FAILED.name)
    if failed.is_empty():
        return []
    said = (failed["note"][0] or "nothing").strip().splitlines()[-1]
    return [f"{len(failed)} runs FAILED; the first said: {said}"]


def _warnings(arranged: Grid, chosen: dict[int, Choice], evidence: Evidence) -> list[str]:
    found = []
    edges = [size for size, choice in chosen.items() if choice.edge != "none"]
    if edges:
        found.append(f"the best learning rate is at the edge of its grid for batch size {', '.join(map(str, edges))}")
    if len(arranged.seeds) < 5:
        count = len(arranged.seeds)
        found.append(
            f"only {count} seed{'s' * (count != 1)}: "
            + ("no interval can be given" if count < 2 else "intervals are wide, and few differences can be resolved")
        )
    if arranged.facts.selection_split == "test":
        found.append("learning rates were chosen on the test set, for the task has no validation set: metrics flatter")
    notes = [note for note in evidence.runs["note"].to_list() if note and "memory ran out" in note]
    if notes:
        found.append(
            f"{len(notes)} runs trained in smaller micro-batches, for memory ran out; batch sizes are unchanged"
        )
    return found + _engine_warnings(evidence)


def _engine_warnings(evidence: Evidence) -> list[str]:
    """Return why runs were not trained in a compiled step, each reason once with the batch sizes that it concerns."""
    sizes: dict[str, set[int]] = {}
    for size, note in evidence.runs.select("batch_size", "note").iter_rows():
        for part in (note or "").split("; "):
            if part.startswith("trained in the "):
                sizes.setdefault(part, set()).add(size)
    return [f"batch size {', '.join(map(str, sorted(some)))}: {part}" for part, some in sizes.items()]
