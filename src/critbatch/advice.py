"""A batch size and a learning rate, with reasons; or what is missing for that."""

import dataclasses

from .estimate import Estimate, short
from .finding import Alternative, BatchSizeFinding, Finding, Recommendation

DEFINITION = "batch size that reaches the target in the fewest seconds on this device, at its best learning rate"
METHOD = "lowest geometric mean over seeds; the interval spans the batch sizes not told apart from it"


def recommend(finding: Finding) -> Finding:
    """Return the finding with its recommendation: the batch size that reaches the target soonest on this device.

    The interval of the batch size spans those not told apart from it; the learning rate is the best one there. No
    recommendation is made where fewer than two batch sizes reach the target with every seed: the reason says what to
    run next.
    """
    fastest = finding.target_winners["seconds"]
    if fastest.batch_size is None or _too_easy(finding):
        return dataclasses.replace(finding, recommendation_reason=_missing(finding))
    rows = {row.batch_size: row for row in finding.batch_sizes}
    row = rows[fastest.batch_size]
    tied = sorted({row.batch_size, *fastest.tied})
    count = row.seconds_to_target.count
    size = Estimate(row.batch_size, tied[0], tied[-1], 0.95, count, "examples", METHOD, DEFINITION)
    advice = Recommendation(
        batch_size=size,
        learning_rate=row.best_learning_rate,
        reasons=tuple(_reasons(finding, row)),
        alternatives=tuple(_alternatives(finding, rows, row.batch_size)),
        warnings=tuple(_warnings(finding, row)),
    )
    return dataclasses.replace(finding, recommendation=advice)


def _missing(finding: Finding) -> str:
    reached = [row.batch_size for row in finding.batch_sizes if row.steps_to_target.value is not None]
    task, endings = finding.task, finding.endings
    target = f"{task.target_quantity} {task.target_direction} {task.target_value}"
    if task.target_quantity is None or not endings["BUDGET"] + endings["TARGET"]:
        return (
            f"no run trained to its end ({endings['DIVERGED']} diverged, {endings['INFEASIBLE']} ran out of memory, "
            f"{endings['FAILED']} failed): see to these first; lower --learning-rates if they diverged"
        )
    if _too_easy(finding):
        return f"the target {target} holds within a step of the start at every batch size: set a harder --target"
    if len(finding.batch_sizes) == 1:
        return "only one batch size was tried, which compares with nothing: give several --batch-sizes"
    which = f"only batch size {reached[0]} reached" if reached else "no batch size reached"
    return (
        f"{which} {target} with every seed; train longer (--epochs, --steps), set an easier --target, or try more batch "
        "sizes"
    )


def _too_easy(finding: Finding) -> bool:
    reached = [row.steps_to_target.value for row in finding.batch_sizes if row.steps_to_target.value is not None]
    return bool(reached) and max(reached) <= 1


def _reasons(finding: Finding, row: BatchSizeFinding) -> list[str]:
    task, seconds = finding.task, row.seconds_to_target
    fastest = finding.target_winners["seconds"]
    found = [
        f"it reaches {task.target_quantity} {task.target_direction} {task.target_value:g} in {seconds.brief()} seconds "
        f"on this device ({seconds.count} seeds): {fastest.words}"
    ]
    examples = finding.target_winners["examples"]
    if examples.batch_size is not None and row.batch_size not in (examples.batch_size, *examples.tied):
        other = next(one for one in finding.batch_sizes if one.batch_size == examples.batch_size)
        found.append(
            f"batch size {examples.batch_size} needs fewer examples ({other.examples_to_target.brief()} against "
            f"{row.examples_to_target.brief()}), but each of its steps carries more overhead"
        )
    critical = None if finding.fit is None else finding.fit.critical_batch_size
    if critical is not None and critical.value is not None:
        side = "below" if row.batch_size < critical.value else "above"
        found.append(
            f"it lies {side} the critical batch size {critical.brief()} ({critical.definition.split(':')[0]}): "
            + ("a larger batch still saves steps" if side == "below" else "larger batches save few steps")
        )
    rate = f"its learning rate, {row.best_learning_rate.brief()},"
    found.append(
        f"{rate} is bracketed from both sides and interpolated between those trained; the best of these is "
        f"{short(row.grid_learning_rate or 0)}"
        if row.learning_rate_at_edge == "none"
        else f"{rate} is the best of those trained, and a better one may lie beyond them"
    )
    return found


def _alternatives(finding: Finding, rows: dict[int, BatchSizeFinding], chosen: int) -> list[Alternative]:
    why = {
        "examples": "fewest examples, that is the least compute where small batches run at full speed",
        "steps": "fewest steps, worth it where larger batches cost no more time (more devices)",
    }
    found = {}
    for unit, reason in why.items():
        size = finding.target_winners[unit].batch_size
        if size is not None and size != chosen and size not in found:
            row = rows[size]
            found[size] = Alternative(
                size, row.best_learning_rate, row.seconds_to_target, row.examples_to_target, reason
            )
    return list(found.values())


def _warnings(finding: Finding, row: BatchSizeFinding) -> list[str]:
    found = list(finding.warnings)
    if finding.fit is not None and not finding.fit.identified:
        found.append(f"no critical batch size: {finding.fit.reason}")
    missed = [one.batch_size for one in finding.batch_sizes if one.steps_to_target.value is None]
    if missed:
        found.append(f"batch size {', '.join(map(str, missed))} never reached the target with every seed")
    converged = finding.budgets["convergence"][-1].winner
    if converged.batch_size not in (None, row.batch_size) and row.batch_size not in converged.tied:
        found.append(
            f"once converged, batch size {converged.batch_size} is better on the test set: time to target is not all"
        )
    return found
