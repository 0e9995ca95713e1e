"""Branches from one checkpoint at several batch sizes, compared at equal examples."""

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
from scipy.special import stdtrit

from ..estimate import Estimate
from ..scaling_rule import ScalingRule
from .outcome import Branch, BranchStudy
from .protocol import Branchable

HALF_LIVES = 3.0
DEFINITION = (
    "local: the batch size up to which, from this checkpoint on, no more than {overhead:.0%} more examples are needed than at "
    "{batch_size}"
)


@final
@dataclass
class _Runs:
    """Losses at the end and, for the base, at the allowance; `ends[multiple][factor]` is (seed,) or (example,)."""

    trainer: Branchable
    batch_size: int
    examples: int
    early: int
    seeds: int
    ends: dict[int, dict[float, np.ndarray]] = field(default_factory=dict)
    middles: dict[float, np.ndarray] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=lambda: {"examples": 0.0, "steps": 0.0, "seconds": 0.0})

    def train(self, multiple: int, factor: float) -> None:
        """Train all seeds of one batch size and one factor on the learning rate."""
        ends, middles = [], []
        size = self.batch_size * multiple
        for seed in range(self.seeds):
            started = time.perf_counter()
            self.trainer.load(seed)
            for step in range(self.examples // size):
                if multiple == 1 and step == self.early:
                    middles.append(self._evaluated())
                self.trainer.step(size, factor)
            ends.append(self._evaluated())
            self.spent["seconds"] += time.perf_counter() - started
            self.spent["examples"] += self.examples
            self.spent["steps"] += self.examples // size
        self.ends.setdefault(multiple, {})[factor] = self._arranged(ends)
        if multiple == 1:
            self.middles[factor] = self._arranged(middles)

    def _evaluated(self) -> np.ndarray:
        found = np.atleast_1d(np.asarray(self.trainer.evaluate(), dtype=float))
        return np.where(np.isfinite(found), found, np.inf)

    def _arranged(self, found: Sequence[np.ndarray]) -> np.ndarray:
        """Return means by seed; with one seed the losses by example, the only pairs that there are."""
        return found[0] if self.seeds == 1 else np.array([one.mean() for one in found])


def branch(  # noqa: PLR0913
    trainer: Branchable, *, batch_size: int, examples: int, rule: ScalingRule, multiples: Sequence[int] = (1, 2, 4, 8),
    factors: Sequence[float] = (0.5, 1.0, 2.0), bend: float | None = None, seeds: int = 5, overhead: float = 0.2,
    level: float = 0.95, half_life: float | None = None,
) -> BranchStudy:  # fmt: skip
    """Return the critical batch size at a checkpoint, from branches that go on from there.

    Branch k trains on batches k times as large, with the learning rate by `rule` times each of `factors`, for the same
    number of examples. It is fine if it then is no worse than the base branch was when it had seen `examples`/(1 +
    `overhead`) of them: measured in examples, not in a loss whose tolerance would have to be guessed. Differences are
    paired by seed (the order of data); with one seed by example of the evaluation set, and then do not cover the noise of
    training. The rate of each seed is the best of the other seeds.

    The interval runs from the largest batch size up to which every branch is surely fine to the smallest that is surely
    worse, each at one-sided level (1 + `level`)/2. It assumes that a larger batch does not become better again.

    Sources: Merrill et al. (2025), arXiv:2505.23971, for branching; the 20 % overhead after Zhang et al. (2024),
    arXiv:2410.21676, here local; tolerance, grid and interval are ours.

    Args:
        trainer: Goes back to the checkpoint and on from there: `BranchLoop`, or any `Branchable`.
        batch_size: Of the checkpoint's training.
        examples: Of every branch; rounded down to whole batches of the largest branch. Several half-lives of an adaptive
            optimizer's averages, or the bump of the switch is measured.
        rule: Of the learning rate: linear for SGD, square root for Adam.
        multiples: Of the batch size, from 1.
        factors: Around the rule's learning rate; the grid is extended once where its best is at an end.
        bend: Noise scale, for rules that bend.
        seeds: Orders of data.
        overhead: Share of examples that a branch may waste.
        level: Confidence level of the interval.
        half_life: Of the optimizer's slowest average, in examples, for the warning.

    Raises:
        ValueError: If multiples, factors, seeds or examples make no sense, or the base branch itself diverges.
    """
    _check(batch_size, multiples, factors, seeds=seeds, overhead=overhead, level=level)
    largest = batch_size * math.lcm(*multiples)
    whole = examples // largest * largest
    steps = whole // batch_size
    early = round(steps / (1 + overhead))
    if not 1 <= early < steps:
        raise ValueError(
            f"`branch(examples={examples})`: too few for whole batches of {largest} and an allowance of {overhead:.0%}. "
            f"Use at least {max(largest, batch_size * math.ceil(2 / overhead))}."
        )
    runs = _Runs(trainer, batch_size, whole, early, seeds)
    rates = {k: rule.learning_rate(1.0, batch_size, k * batch_size, bend=bend) for k in multiples}
    edges = {k: _trained(runs, k, [rates[k] * factor for factor in sorted(factors)]) for k in multiples}
    if not any(np.isfinite(one).all() for one in runs.ends[1].values()):
        raise ValueError(
            f"`branch(...)`: the base branch, batch size {batch_size}, diverges at every learning rate of the grid: this "
            "checkpoint cannot be continued as it is. Check the learning rate that it is loaded with."
        )
    warnings = _warnings(edges, whole, half_life, seeds)
    return _studied(runs, edges, steps / early - 1, level, warnings)


def _check(
    batch_size: int, multiples: Sequence[int], factors: Sequence[float], *, seeds: int, overhead: float, level: float
) -> None:  # fmt: skip
    if batch_size < 1 or seeds < 1:
        raise ValueError(f"`branch(batch_size={batch_size}, seeds={seeds})`: both must be at least 1.")
    if len(multiples) < 2 or multiples[0] != 1 or any(b <= a for a, b in itertools.pairwise(multiples)):
        raise ValueError(f"`branch(multiples={tuple(multiples)})`: must begin with 1 and increase, two or more.")
    if not factors or min(factors) <= 0:
        raise ValueError(f"`branch(factors={tuple(factors)})`: one or more, all above 0.")
    if not (overhead > 0 and 0 < level < 1):
        raise ValueError(f"`branch(overhead={overhead}, level={level})`: overhead above 0, level between 0 and 1.")


def _trained(runs: _Runs, multiple: int, grid: list[float]) -> bool:
    """Train a grid of factors, extended once at an end where its best lies; return whether the best is at an end still."""
    for factor in grid:
        runs.train(multiple, factor)
    if len(grid) == 1:
        return False
    for _ in range(2):
        tried = sorted(runs.ends[multiple])
        best = min(tried, key=lambda factor: float(runs.ends[multiple][factor].mean()))
        if best not in (tried[0], tried[-1]):
            return False
        if len(tried) > len(grid):
            return True
        runs.train(multiple, tried[0] ** 2 / tried[1] if best == tried[0] else tried[-1] ** 2 / tried[-2])
    return True


def _best_of_others(table: dict[float, np.ndarray], seeds: int) -> np.ndarray:
    """Return the loss of each seed at the factor that is best on the other seeds; all of them with one seed."""
    losses = np.stack(list(table.values()))
    if seeds == 1:
        return losses[losses.mean(1).argmin()]
    total = losses.sum(1, keepdims=True)
    with np.errstate(invalid="ignore"):
        others = np.where(np.isfinite(losses).all(1, keepdims=True), total - losses, np.inf)
    return losses[others.argmin(0), np.arange(losses.shape[1])]


@final
@dataclass(frozen=True)
class _Bounds:
    mean: float
    low: float
    high: float


def _bounds(values: np.ndarray, level: float) -> _Bounds:
    """Return the mean and one-sided bounds of paired differences; surely worse where one is infinite."""
    if not np.isfinite(values).all():
        return _Bounds(np.inf, np.inf, np.inf)
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return _Bounds(mean, -np.inf, np.inf)
    half = float(stdtrit(count - 1, (1 + level) / 2) * values.std(ddof=1) / count**0.5)
    return _Bounds(mean, mean - half, mean + half)


def _estimate(bounds: _Bounds, definition: str, runs: _Runs, level: float) -> Estimate:
    pairs = "seed" if runs.seeds > 1 else "evaluated example"
    facts = {"unit": "loss", "method": f"paired t by {pairs}", "definition": definition, "level": level}
    if not math.isfinite(bounds.mean):
        return Estimate.missing("a run diverged", **facts)
    ends = [None if math.isinf(end) else end for end in (bounds.low, bounds.high)]
    return Estimate(bounds.mean, *ends, count=runs.seeds, **facts)


def _studied(runs: _Runs, edges: dict[int, bool], overhead: float, level: float, warnings: list[str]) -> BranchStudy:
    ends = {k: _best_of_others(table, runs.seeds) for k, table in runs.ends.items()}
    allowance = _best_of_others(runs.middles, runs.seeds)
    over = {k: _bounds(losses - allowance, level) for k, losses in ends.items()}
    rows = []
    for k, losses in ends.items():
        table = runs.ends[k]
        best = min(table, key=lambda factor, table=table: float(table[factor].mean()))
        rows.append(Branch(
            k, k * runs.batch_size, best, edges[k], float(losses.mean()),
            _estimate(_bounds(losses - ends[1], level), "loss beyond the base branch's, at equal examples", runs, level),
            _estimate(over[k], f"loss beyond the base branch's after {overhead:.0%} fewer examples", runs, level),
            "fine" if over[k].high <= 0 else "worse" if over[k].low > 0 else "open",
            sum(int(not np.isfinite(one).all()) for one in table.values()),
        ))  # fmt: skip
    found = _critical(over, rows, runs, overhead, level)
    return BranchStudy(
        found, _undetected(ends, level) * runs.batch_size, tuple(rows), runs.examples, dict(runs.spent), tuple(warnings)
    )


def _critical(over: dict[int, _Bounds], rows: list[Branch], runs: _Runs, overhead: float, level: float) -> Estimate:
    size = runs.batch_size
    facts = {
        "unit": "examples", "level": level, "count": runs.seeds, "method": "branches, one-sided paired t",
        "definition": DEFINITION.format(overhead=overhead, batch_size=size),
    }  # fmt: skip
    fine = [row.multiple for at, row in enumerate(rows) if all(one.verdict == "fine" for one in rows[: at + 1])]
    worse = [row.multiple for row in rows if row.verdict == "worse"]
    low, high = (float(max(fine) * size) if fine else None), (float(min(worse) * size) if worse else None)
    ks = list(over)
    for k, following in itertools.pairwise(ks):
        before, after = over[k].mean, over[following].mean
        if before <= 0 < after:
            share = 0.0 if math.isinf(after) else before / (before - after)
            return Estimate(size * k * (following / k) ** share, low, high, **facts)
    if over[1].mean > 0:
        reason = "the base branch itself did not improve over the last of its examples: use more of them"
        return Estimate.missing(reason, low=low, high=high, **facts)
    return Estimate.missing(f"up to {size * ks[-1]} no branch was worse: try larger ones", low=low, high=high, **facts)


def _undetected(ends: dict[int, np.ndarray], level: float) -> int:
    """Return the largest multiple up to which no branch is detectably worse than a smaller one, at equal examples."""
    found = 1
    for k, losses in ends.items():
        smaller = [other for multiple, other in ends.items() if multiple < k]
        if any(_bounds(losses - other, level).low > 0 for other in smaller):
            break
        found = k
    return found


def _warnings(edges: dict[int, bool], examples: int, half_life: float | None, seeds: int) -> list[str]:
    found = [
        f"multiple {k}: the best learning rate is at the end of its grid; a wrong rate looks like a critical batch size"
        for k, at_edge in edges.items()
        if at_edge
    ]
    if half_life is not None and examples < HALF_LIVES * half_life:
        found.append(
            f"branches of {examples} examples are shorter than {HALF_LIVES:g} half-lives ({half_life:.3g}) of the optimizer's "
            "averages: they may measure the switch"
        )
    if seeds == 1:
        found.append("one seed: intervals are over evaluated examples alone and do not cover the noise of training")
    return found
