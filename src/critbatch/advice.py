"""A batch size and a learning rate, with reasons; or what is missing for that."""

import dataclasses
import math

from .estimate import Estimate, short
from .finding import Alternative, BatchSizeFinding, Comparison, Finding, Recommendation

DEFINITION = "batch size that reaches the target in the fewest seconds on this device, at its best learning rate"
MOST_SEEDS = 40  # beyond which nobody should go to tell two batch sizes apart
METHOD = (
    "lowest geometric mean over seeds; the interval spans the batch sizes not told apart from it and, where there is one, the "
    "interval of sqrt(E_min/S_min t0/t1)"
)


def recommend(finding: Finding) -> Finding:
    """Return the finding with its recommendation: the batch size that reaches the target soonest on this device.

    The interval of the batch size spans those not told apart from it; the learning rate is the best one there. No
    recommendation is made where fewer than two batch sizes reach the target with every seed: the reason says what to
    run next.
    """
    finding = dataclasses.replace(finding, next_runs=tuple(next_runs(finding)))
    fastest = finding.target_winners.get("seconds")
    if fastest is None:
        return _without_seconds(finding)
    if fastest.batch_size is None or _too_easy(finding):
        return dataclasses.replace(finding, recommendation_reason=_missing(finding))
    rows = {row.batch_size: row for row in finding.batch_sizes}
    row = rows[fastest.batch_size]
    tied = sorted({row.batch_size, *fastest.tied})
    count = row.seconds_to_target.count
    best = finding.time_optimal
    ends = [float(tied[0]), float(tied[-1])]
    if best is not None and best.value is not None and best.low is not None and best.high is not None:
        ends += [best.low, best.high]
    size = Estimate(row.batch_size, min(ends), max(ends), 0.95, count, "examples", METHOD, DEFINITION)
    advice = Recommendation(
        batch_size=size,
        learning_rate=row.best_learning_rate,
        reasons=tuple(_reasons(finding, row)),
        alternatives=tuple(_alternatives(finding, rows, row.batch_size)),
        warnings=tuple(_warnings(finding, row)),
    )
    return dataclasses.replace(finding, recommendation=advice)


def _without_seconds(finding: Finding) -> Finding:
    """Return the finding of a log, which has no seconds, with the critical batch size as its recommendation."""
    fit = finding.fit
    if fit is None or fit.critical_batch_size.value is None:
        return dataclasses.replace(finding, recommendation_reason=fit.reason if fit else "no curve was fitted")
    critical = fit.critical_batch_size
    size = dataclasses.replace(
        critical, definition=f"largest batch size that is worth its examples: {critical.definition}"
    )
    below = [row for row in finding.batch_sizes if row.batch_size <= (critical.value or 0)]
    row = below[-1] if below else finding.batch_sizes[0]
    reasons = (
        f"up to the critical batch size {critical.brief()} a larger batch still saves steps; there it takes twice the fewest "
        "steps and twice the fewest examples",
        "the log has no seconds: take the largest batch that your device runs at full speed, but none above this "
        "(`critbatch probe` measures it)",
        f"the learning rate is the best one at batch size {row.batch_size}, the nearest below"
        if row.best_learning_rate.value is not None
        else "the log has no learning rates",
    )
    advice = Recommendation(size, row.best_learning_rate, reasons, (), tuple(finding.warnings))
    return dataclasses.replace(finding, recommendation=advice)


def _missing(finding: Finding) -> str:
    reached = [row.batch_size for row in finding.batch_sizes if row.batch_size in _compared(finding)]
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


def _compared(finding: Finding) -> tuple[int, ...]:
    """Return the batch sizes that reached the target with every seed; of a single one nothing was compared."""
    seconds = finding.target_winners["seconds"].compared
    return seconds or tuple(row.batch_size for row in finding.batch_sizes if row.steps_to_target.value is not None)[:1]


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
    best = finding.time_optimal
    if best is not None and best.value is not None:
        found.append(
            f"between the batch sizes tried, the fitted steps and step times put the fastest at {best.brief()} "
            "(sqrt(E_min/S_min t0/t1))"
        )
    rate = f"its learning rate, {row.best_learning_rate.brief()},"
    found.append(
        f"{rate} is bracketed from both sides and interpolated between those trained; the best of these is "
        f"{short(row.grid_learning_rate or 0)}"
        if row.learning_rate_at_edge == "none"
        else f"{rate} is the best of those trained, and a better one may lie beyond them"
    )
    return found


def next_runs(finding: Finding) -> list[str]:
    """Return what to run next to narrow the answer, the most telling first; nothing where it is narrow enough."""
    found = []
    edges = [row.batch_size for row in finding.batch_sizes if row.learning_rate_at_edge != "none"]
    if edges:
        found.append(
            f"more learning rates at batch size {', '.join(map(str, edges))}: the best is at the edge of its grid"
        )
    if finding.fit is not None and not finding.fit.identified and finding.fit.reason:
        found.append(f"for a critical batch size: {finding.fit.reason}")
    fastest = finding.target_winners.get("seconds")
    open_ones = [one for one in fastest.rivals if one.words == "not resolved"] if fastest else []
    if fastest and open_ones:
        seeds = max(_seeds_needed(one) for one in open_ones)
        sizes = ", ".join(str(one.batch_size) for one in open_ones)
        count = open_ones[0].difference.count
        if count < seeds <= MOST_SEEDS:
            found.append(
                f"--seeds {seeds} instead of {count}, to tell batch size {fastest.batch_size} from {sizes} or call them equivalent"
            )
        else:
            found.append(
                f"nothing for batch sizes {fastest.batch_size} and {sizes}: they are too close for {MOST_SEEDS} seeds; either will do"
            )
    return found


def _seeds_needed(one: Comparison) -> int:
    """Return how many seeds would resolve a comparison: find this difference, or show that it is within the margin."""
    if one.detectable is None or one.difference.value is None:
        return 5
    is_ratio = one.difference.unit == "ratio"
    lead, detectable, margin = (
        math.log(number) if is_ratio else number for number in (one.difference.value, one.detectable, one.margin)
    )
    wanted = max(abs(lead), margin)
    return max(one.difference.count + 1, math.ceil(one.difference.count * (detectable / wanted) ** 2))


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


def _test_noise(finding: Finding, row: BatchSizeFinding) -> list[str]:
    """Return a warning where the best and the worst test accuracy differ by less than the test set's own noise."""
    known = [one.test_metric.value for one in finding.batch_sizes if one.test_metric.value is not None]
    accuracy = row.test_metric.value
    size = finding.task.test_size
    if finding.task.metric != "accuracy" or not size or accuracy is None or len(known) < 2 or not 0 < accuracy < 1:
        return []
    noise = (accuracy * (1 - accuracy) / size) ** 0.5
    if max(known) - min(known) >= 2 * noise:
        return []
    return [
        f"test accuracies of all batch sizes lie within {100 * (max(known) - min(known)):.2f} points, less than twice the "
        f"noise of {size:,} test examples ({100 * noise:.2f} points): which one generalises best is not known"
    ]


def _warnings(finding: Finding, row: BatchSizeFinding) -> list[str]:
    found = list(finding.warnings)
    if finding.fit is not None and not finding.fit.identified:
        found.append(f"no critical batch size: {finding.fit.reason}")
    if finding.fit is not None and finding.fit.misspecified:
        found.append(
            f"the hyperbola is misspecified: {finding.fit.misspecified}; trust the measured steps, not the curve"
        )
    found += _test_noise(finding, row)
    missed = [one.batch_size for one in finding.batch_sizes if one.steps_to_target.value is None]
    if missed:
        found.append(f"batch size {', '.join(map(str, missed))} never reached the target with every seed")
    converged = finding.budgets["convergence"][-1].winner
    if converged.batch_size not in (None, row.batch_size) and row.batch_size not in converged.tied:
        found.append(
            f"once converged, batch size {converged.batch_size} is better on the test set: time to target is not all"
        )
    return found
