"""Would a batch size that grows have saved time? Policies against the best fixed batch size, tuned and paired alike."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import polars as pl
from scipy.optimize import nnls

from ..estimate import Estimate
from ..finding import TaskFacts
from ..ramp_finding import Ramps, SteeredArm
from ..record import Evidence
from ..statistics.censoring import crossing
from ..statistics.comparisons import holm, paired_difference
from .grid import Grid, Track, tracks
from .pareto import step_seconds

MARK = '"Steered"'  # the kind of a sampling whose batch size a policy decides
FIXED = "fixed"
CONTROL = "StepDecay"
ADAPTIVE = ("NormTest", "NoiseControlled", "CABS", "AdaScale")
UNITS = ("seconds", "steps", "examples")
ALPHA = 0.05


@final
@dataclass(frozen=True)
class _Cell:
    """The runs of one policy at one first batch size and one learning rate: costs to the target, by seed."""

    arm: str
    batch_size: int
    learning_rate: float
    costs: Mapping[int, np.ndarray]  # seconds, steps and examples; infinite where the target was not reached

    def score(self, seeds: Sequence[int]) -> float:
        """Return the mean log seconds over seeds; infinite if one is missing or did not get there."""
        if any(seed not in self.costs for seed in seeds):
            return np.inf
        return float(np.mean([np.log(self.costs[seed][0]) for seed in seeds]))


def apart(evidence: Evidence) -> tuple[Evidence, Evidence]:
    """Return the runs with a fixed batch size and those with a policy."""
    is_steered = evidence.runs["sampling"].str.contains(MARK, literal=True)
    parts = [evidence.runs.filter(~is_steered), evidence.runs.filter(is_steered)]
    if parts[1].is_empty():
        return evidence, Evidence(parts[1], evidence.records.clear())
    fixed, steered = (
        Evidence(part, evidence.records.filter(pl.col("run").is_in(part["run"].to_list()))) for part in parts
    )
    return fixed, steered


def time_model(seconds: Mapping[int, float]) -> tuple[float, float]:
    """Return t0 and t1 of a step's seconds t0 + t1 B, by relative least squares, neither below 0.

    Args:
        seconds: Of a step, by batch size.
    """
    sizes, times = np.array(list(seconds), dtype=float), np.array(list(seconds.values()))
    found, _ = nnls(np.stack([1 / times, sizes / times], axis=1), np.ones(len(times)))
    return float(found[0]), float(found[1])


def costs_to_target(track: Track, facts: TaskFacts, model: tuple[float, float]) -> np.ndarray:
    """Return seconds, steps and examples to the target, shape (3,); infinite where it was not reached.

    Seconds are those of the time model: t0 a step and t1 an example, which needs no clock that other jobs disturb and
    holds for batches of changing size. What a policy measures is not counted.
    """
    seen = track.values.get(facts.target_quantity or "")
    if not track.completed or seen is None or facts.target_value is None or facts.target_direction is None:
        return np.full(3, np.inf)
    spent = model[0] * track.step + model[1] * track.examples
    found = [
        crossing(one, seen, facts.target_value, facts.target_direction) for one in (spent, track.step, track.examples)
    ]
    return np.array([np.inf if one is None or one <= 0 else one for one in found])


def first_batches(arranged: Grid, rates: Mapping[int, float]) -> dict[int, tuple[int, int]]:
    """Return with which batch sizes policies begin; and steps and examples that each needs to the target when it stays.

    The fastest to the target by the time model, and the largest that is at most a quarter of it. Nothing if none reached
    the target on every seed.

    Args:
        arranged: The study's own seeds.
        rates: The best learning rate of each batch size.
    """
    model = time_model(step_seconds(arranged))
    found: dict[int, np.ndarray] = {}
    for size, rate in rates.items():
        costs = [
            costs_to_target(track, arranged.facts, model) for track in arranged.tracks[size].get(rate, {}).values()
        ]
        if costs and np.isfinite(costs).all():
            found[size] = np.exp(np.log(costs).mean(0))
    if not found:
        return {}
    best = min(found, key=lambda size: found[size][0])
    smaller = max((size for size in found if size <= best / 4), default=best)
    return {size: (max(1, round(found[size][1])), max(1, round(found[size][2]))) for size in sorted({best, smaller})}


def best_runs(steered: Evidence, arranged: Grid, *, seed: int) -> set[str]:
    """Return the runs of `seed` of each policy's best first batch size and learning rate.

    Args:
        steered: Runs with a policy, of the study's own seeds.
        arranged: Those with a fixed batch size.
        seed: One of the study's own.
    """
    cells = _cells(steered, arranged.facts, time_model(step_seconds(arranged)), _policy)
    best = [_best([one for one in cells if one.arm == arm], arranged.seeds) for arm in {one.arm for one in cells}]
    wanted = {(one.arm, one.batch_size, one.learning_rate) for one in best if one is not None}
    return {
        row["run"]
        for row in steered.runs.iter_rows(named=True)
        if row["seed"] == seed and (_policy(row["sampling"]), row["batch_size"], row["learning_rate"]) in wanted
    }


def compare_ramps(
    evidence: Evidence, steered: Evidence, arranged: Grid, *, fresh_seeds: Sequence[int], level: float = 0.95
) -> Ramps | None:
    """Return how each policy compares with the best fixed batch size; None if no policy was tried.

    Every arm has its first batch size and learning rate chosen by the mean log seconds to the target on the study's own
    seeds; ratios are of fresh seeds, paired. Without fresh seeds they are of the same seeds, and flatter every arm.

    Args:
        evidence: Runs with a fixed batch size.
        steered: Runs with a policy.
        arranged: The former, as a grid of the study's own seeds.
        fresh_seeds: May be empty.
        level: Confidence level.
    """
    if steered.runs.is_empty():
        return None
    facts = arranged.facts
    model = time_model(step_seconds(arranged))
    cells = [*_cells(evidence, facts, model, lambda _: FIXED), *_cells(steered, facts, model, _policy)]
    chosen = {
        arm: _best([one for one in cells if one.arm == arm], arranged.seeds)
        for arm in dict.fromkeys(c.arm for c in cells)
    }
    fixed = chosen.pop(FIXED, None)
    facts_of = {"step_seconds": model[0], "example_seconds": model[1]}
    if fixed is None:
        return Ramps(None, None, "no fixed batch size reached the target on every seed", (), **facts_of)
    seeds = tuple(fresh_seeds) or arranged.seeds
    tried = {arm: sum(one.arm == arm for one in cells) for arm in chosen}
    arms = _adjusted([_compared(arm, cell, fixed, seeds, tried[arm], level) for arm, cell in chosen.items()])
    sentence = _sentence(arms, chosen, fixed, seeds, level)
    return Ramps(fixed.batch_size, fixed.learning_rate, sentence, tuple(arms), **facts_of)


def _cells(
    evidence: Evidence, facts: TaskFacts, model: tuple[float, float], arm: Callable[[str], str]
) -> list[_Cell]:  # fmt: skip
    runs = evidence.runs.filter(pl.col("measurements") == "[]")
    looks = tracks(Evidence(runs, evidence.records))
    found: dict[tuple[str, int, float], dict[int, np.ndarray]] = {}
    for row in runs.iter_rows(named=True):
        key = (arm(row["sampling"]), row["batch_size"], row["learning_rate"])
        found.setdefault(key, {})[row["seed"]] = costs_to_target(looks[row["run"]], facts, model)
    return [_Cell(*key, costs) for key, costs in sorted(found.items())]


def _policy(sampling: str) -> str:
    return json.loads(sampling)["policy"]["kind"]


def _best(cells: Sequence[_Cell], seeds: Sequence[int]) -> _Cell | None:
    best = min(cells, key=lambda one: one.score(seeds))
    return best if np.isfinite(best.score(seeds)) else None


def _compared(
    arm: str, cell: _Cell | None, fixed: _Cell, seeds: Sequence[int], tried: int, level: float
) -> SteeredArm:  # fmt: skip
    """Return an arm beside the fixed batch size; its p-value is not adjusted yet."""
    definition = "to the target, over that of the best fixed batch size; geometric mean of pairs of one seed"
    facts = {"unit": "ratio", "level": level, "method": "paired t on logs"}
    if cell is None:
        reason = "no learning rate reached the target on every seed"
        gone = {unit: Estimate.missing(reason, definition=f"{unit} {definition}", **facts) for unit in UNITS}
        return SteeredArm(arm, arm == CONTROL, arm in ADAPTIVE, None, None, tried, 0, **gone, p_value=1.0)
    pairs = [(cell.costs.get(seed), fixed.costs.get(seed)) for seed in seeds]
    there = [(ours, other) for ours, other in pairs if ours is not None and other is not None]
    both = [(ours, other) for ours, other in there if np.isfinite([ours[0], other[0]]).all()]
    logs = np.array([np.log(ours / other) for ours, other in both]).reshape(-1, len(UNITS))
    found: dict[str, Estimate] = {}
    p_value = 1.0
    for at, unit in enumerate(UNITS):
        named = f"{unit} {definition}"
        if len(logs) < max(len(there), 2):
            reason = (
                f"{len(both)} of {len(there)} pairs reached the target: a ratio of these alone would be chosen by luck"
            )
            found[unit] = Estimate.missing(reason, definition=named, **facts)
            continue
        one = paired_difference(logs[:, at], equivalence_margin=0.0, level=level)
        p_value = one.t_p if unit == "seconds" else p_value
        ends = [None if end is None else float(np.exp(end)) for end in (one.low, one.high)]
        found[unit] = Estimate(float(np.exp(one.mean)), *ends, count=len(logs), definition=named, **facts)
    return SteeredArm(
        arm, arm == CONTROL, arm in ADAPTIVE, cell.batch_size, cell.learning_rate, tried, len(both), **found, p_value=p_value
    )  # fmt: skip


def _adjusted(arms: Sequence[SteeredArm]) -> list[SteeredArm]:
    """Return the arms, p-values adjusted for their number (Holm), the fastest first."""
    p_values = holm([one.p_value for one in arms])
    found = [dataclasses.replace(one, p_value=float(p)) for one, p in zip(arms, p_values, strict=True)]
    return sorted(found, key=lambda one: one.seconds.value or np.inf)


def _sentence(
    arms: Sequence[SteeredArm], chosen: Mapping[str, _Cell | None], fixed: _Cell, seeds: Sequence[int], level: float
) -> str:  # fmt: skip
    """Return the answer to: would a ramp have saved time here?"""
    against = f"the best fixed batch size, {fixed.batch_size}"
    growing = [one for one in arms if not one.is_control and one.seconds.value is not None]
    if not growing:
        return f"no policy reached the target on every seed, beside {against}"
    best = growing[0]
    faster = [one for one in growing if one.p_value < ALPHA and (one.seconds.value or 1) < 1]
    slower = [one for one in growing if one.p_value < ALPHA and (one.seconds.value or 1) > 1]
    words = f"{best.seconds.brief()} times the seconds of {against} ({best.policy}, the fastest of {len(growing)})"
    if faster:
        return f"yes: a batch that grows took {words}{_beside_control(chosen, best.policy, seeds, level)}"
    if len(slower) == len(growing):
        return f"no: every policy was slower; the fastest took {words}"
    return f"not that this study could tell: {words}"


def _beside_control(chosen: Mapping[str, _Cell | None], best: str, seeds: Sequence[int], level: float) -> str:
    """Return how the best policy compares with cutting the learning rate alone, paired by seed."""
    control = chosen.get(CONTROL)
    if control is None:
        return ""
    found = _compared(best, chosen[best], control, seeds, 0, level)
    if found.seconds.value is None:
        return ""
    text = f"; that is {found.seconds.brief()} times those of cutting the learning rate alone"
    return text if found.p_value < ALPHA else f"{text}, not told apart"
