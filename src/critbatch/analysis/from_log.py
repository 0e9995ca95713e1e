"""What a log of somebody else's runs says, in the form of a sweep's findings."""

from collections.abc import Mapping

import numpy as np

from ..curve import Curve
from ..estimate import Estimate
from ..finding import BatchSizeFinding, Finding, TaskFacts, Winner
from ..log import Log
from ..record import Ending
from ..scaling_rule import ScalingRule
from ..statistics.resampling import Group, replicate_estimate
from .batch_sizes import MISSED, not_compared
from .choice import Choice
from .comparison import fewest
from .definitions import definitions, regime_of, regimes
from .joint import joint_fit
from .logged import fit_log, heights_of, runs_of_curves
from .rates import best_rate, learning_rate_rule
from .tuning import tuning

STEPS = "steps to target, as logged"
ABSENT = "not in the log"


def with_steps(log: Log, target: float | None, direction: str) -> Log:
    """Return the log with its curves turned into steps to `target`.

    Raises:
        ValueError: If there are curves and no target, or a target and nothing to apply it to.
    """
    if log.curves is None:
        if target is not None:
            raise ValueError(f"`--target {target}`: the log holds steps to a target already. Leave --target out.")
        return log
    if target is None:
        seen = log.curves["metric"].drop_nans()
        raise ValueError(
            f"The log holds curves ({seen.min():.4g} to {seen.max():.4g}): say with --target what counts as arrived, for "
            "example --target '>0.9' or --target '<0.5'."
        )
    runs = runs_of_curves(log.curves, target, direction)
    if (runs["steps"] <= 1).all() and runs["reached"].all():
        raise ValueError(
            f"`--target`: every run is {direction} {target} from its first look on. Is it the other side that counts? Write "
            "'<' or '>' before the number."
        )
    return Log(runs=runs, columns=log.columns, notes=log.notes)


def assemble_log(
    log: Log, name: str, *, curve: Curve, rules: Mapping[str, ScalingRule], command: str = "", level: float = 0.95
) -> Finding:  # fmt: skip
    """Return everything that a log of runs or of means says, without a recommendation.

    Args:
        log: With runs or summaries (see `with_steps`).
        name: Of the log, for the heading.
        curve: Fitted to steps to target.
        rules: Learning rate scaling rules to compare with, by name.
        command: For the record.
        level: Confidence level.
    """
    fit, choices, paired = fit_log(log, curve, level=level)
    known = regimes(fit)
    joint = joint_fit(choices, paired=paired) if choices else None
    rows = _rows_of_runs(log, choices, paired, level) if choices else _rows_of_summaries(log, choices, level)
    rows = [BatchSizeFinding(**(vars(row) | {"regime": regime_of(row.batch_size, known)})) for row in rows]
    return Finding(
        task=_facts(name),
        device=ABSENT,
        versions={},
        plan={"columns": dict(log.columns or {}), "notes": list(log.notes), "command": command},
        seconds=0.0,
        endings=_endings(log),
        batch_sizes=tuple(rows),
        budgets={},
        flips=(),
        fit=fit,
        noise_scale=(),
        learning_rate_rule=learning_rate_rule(choices, rules, paired=paired, level=level),
        recommendation=None,
        recommendation_reason=None,
        claims=(),
        cells=(),
        curves=(),
        warnings=(*log.notes, *_warnings(choices), *_of_summaries(log)),
        target_winners=_winners(choices, level) if paired else {},
        critical_batch_sizes=definitions(fit, joint, ()),
        regimes=known,
        tuning=tuning(choices),
        joint_fit=joint,
    )


def _facts(name: str) -> TaskFacts:
    return TaskFacts(
        name=name, revision="", train_size=None, test_size=None, validation_size=None, parameters=None,
        metric="steps to target", better="below", selection_split="log", target_quantity=None, target_value=None,
        target_direction=None, target_origin="the log's own",
    )  # fmt: skip


def _endings(log: Log) -> dict[str, int]:
    found = dict.fromkeys((ending.name for ending in Ending), 0)
    if log.summaries is not None:
        return found | {Ending.TARGET.name: int(log.summaries["count"].sum())}
    if log.runs is not None:
        reached, diverged = int(log.runs["reached"].sum()), int(log.runs["diverged"].sum())
        return found | {
            Ending.TARGET.name: reached, Ending.DIVERGED.name: diverged, Ending.BUDGET.name: len(log.runs) - reached - diverged,
        }  # fmt: skip
    return found


def _rows_of_runs(log: Log, choices: dict[int, Choice], paired: bool, level: float) -> list[BatchSizeFinding]:
    rows = []
    for size, one in choices.items():
        heights = heights_of(log, {size: one}, paired=paired)
        whole = np.isfinite(heights.logs).all() and heights.logs.shape[1] == 1 and not heights.censored[0]
        steps = (
            _steps(heights.logs[:, 0], heights.groups, heights.count, heights.method, level)
            if whole
            else _none(one, level)
        )
        censored, diverged = (
            int((~np.isnan(one.bounds)).sum()),
            int((np.isinf(one.scores) & np.isnan(one.bounds)).sum()),
        )
        rows.append(_row(size, one, steps, censored, diverged, int((~np.isnan(one.scores)).sum()), level))
    return rows


def _rows_of_summaries(log: Log, choices: dict[int, Choice], level: float) -> list[BatchSizeFinding]:
    heights = heights_of(log, choices, paired=False)
    rows = []
    for place, size in enumerate(heights.sizes):
        own = tuple(group for group in heights.groups if place + 1 in range(group.rows.start, group.rows.stop))
        steps = _steps(heights.logs[:, place], own, heights.count, heights.method, level)
        rows.append(_row(int(size), None, steps, 0, 0, 0, level))
    return rows


def _steps(logs: np.ndarray, groups: tuple[Group, ...], count: int, method: str, level: float) -> Estimate:
    return replicate_estimate(
        logs, groups, level=level, count=count, unit="steps", method=method, definition=STEPS, logarithmic=True
    )


def _none(choice: Choice, level: float) -> Estimate:
    bound = choice.least_bound()
    low = None if bound is None else float(np.exp(bound))
    return Estimate.missing(MISSED, unit="steps", definition=STEPS, low=low, level=level)


def _row(
    size: int, choice: Choice | None, steps: Estimate, censored: int, diverged: int, runs: int, level: float
) -> BatchSizeFinding:
    def absent(unit: str) -> Estimate:
        return Estimate.missing(ABSENT, unit=unit, definition=unit, level=level)

    return BatchSizeFinding(
        batch_size=size,
        best_learning_rate=absent("learning rate") if choice is None else best_rate(choice, level=level),
        grid_learning_rate=None
        if choice is None or choice.best_rate is None or np.isnan(choice.best_rate)
        else choice.best_rate,
        learning_rate_at_edge="none" if choice is None or len(choice.rates) < 2 else choice.edge,
        steps_to_target=steps,
        examples_to_target=steps.scaled(size, unit="examples", definition="examples to target, as logged"),
        epochs_to_target=absent("epochs"),
        seconds_to_target=absent("seconds"),
        test_metric=absent("metric"),
        train_loss=absent("loss"),
        generalization_gap=absent("loss"),
        diverged=diverged,
        censored=censored,
        runs=runs,
    )


def _winners(choices: dict[int, Choice], level: float) -> dict[str, Winner]:
    """Return which batch size needed the fewest steps and examples, where every seed of it arrived."""
    steps = {
        size: np.exp(one.scores[one.best]) for size, one in choices.items()
        if one.best is not None and np.isfinite(one.scores[one.best]).all()
    }  # fmt: skip
    examples = {size: size * values for size, values in steps.items()}
    partly = [size for size, one in choices.items() if one.best is not None and size not in steps]
    return {
        unit: not_compared(fewest(values, definition=f"{unit} to target", level=level), partly)
        for unit, values in (("steps", steps), ("examples", examples))
    }


def _of_summaries(log: Log) -> list[str]:
    if log.summaries is None or log.summaries["learning_rate"].null_count() == len(log.summaries):
        return []
    return [
        "of several learning rates the lowest mean was taken at each batch size: a little too good, and nothing is said of "
        "learning rates; a table with a row for each run can be read in full"
    ]


def _warnings(choices: dict[int, Choice]) -> list[str]:
    edges = [size for size, one in choices.items() if len(one.rates) > 1 and one.edge != "none"]
    unknown = bool(choices) and all(len(one.rates) == 1 for one in choices.values())
    found = []
    if edges:
        found.append(f"the best learning rate is at the edge of its grid for batch size {', '.join(map(str, edges))}")
    coarse = [size for size, one in choices.items() if one.is_coarse()]
    if coarse:
        found.append(
            f"the learning rates at batch size {', '.join(map(str, coarse))} are so far apart that the neighbours of the best take "
            "more than twice its steps: a better one may lie between them"
        )
    if unknown:
        found.append(
            "each batch size has one learning rate: where it was not tuned anew, its steps are too many and the critical "
            "batch size is wrong"
        )
    return found
