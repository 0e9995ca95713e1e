"""The life of a cohort: blocks of steps, looks, and the ending of each replica."""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from ..budget import Progress
from ..data import Examples
from ..measurement import look_steps
from ..plan import Run, RunResult
from ..randomness import generator
from ..record import Ending, record_table
from ..task import Task
from .looks import Looks
from .replicas import Block, Replicas

LOOK_STEPS = look_steps()
MOST_STEPS = 4096  # of a block
MOST_INDICES = 2**18  # of a block and seed

Piece = tuple[Examples, torch.Tensor]  # data and the indices of one batch


@final
@dataclass
class _Member:
    """A run of a cohort while it trains."""

    run: Run
    looks: Looks
    ending: Ending | None = None
    end: Progress | None = None


def train_together(
    task: Task, cohort: Sequence[Run], device: torch.device, replicas: Replicas, *, plain_seconds: float, note: str = ""
) -> list[RunResult]:
    """Train the runs of a cohort from their initialisation to their endings; looks and endings are the plain loop's.

    A replica that has diverged, reached its target or spent its budget leaves, and the others go on as if it were there.

    Args:
        task: What to train.
        cohort: Runs that differ in learning rate and seed only.
        device: Where the data are put.
        replicas: The runs' parameters, at their initialisation.
        plain_seconds: What one step takes in the plain loop on this device. A run's seconds are its steps times this:
            how long it would have trained alone, which is what a reader wants to know; its share of a cohort's time
            would depend on the cohort.
        note: Kept with each run.

    Raises:
        ValueError: If the sampling gives no batch.
        UnevenBatches: If the seeds' batches differ in size: train each seed's runs by themselves.
    """
    run = cohort[0]
    members = [_Member(one, Looks(task, one, device)) for one in cohort]
    progress = Progress(0, 0, 0.0, len(task.train))
    seeds = sorted({one.seed for one in cohort})
    sources = {seed: pieces(task, run, seed, device) for seed in seeds}
    _look(members, replicas, progress)
    while any(member.ending is None for member in members):
        wanted = _until_look(progress.step, run.batch_size)
        alive = sorted({member.run.seed for member in members if member.ending is None})
        taken = {seed: list(itertools.islice(sources[seed], wanted)) for seed in alive}
        if not taken[alive[0]]:
            raise ValueError(f"`{run.sampling}` gives no batch of {run.batch_size} from {len(task.train)} examples.")
        progress, spent = _advance(members, replicas, progress, taken, plain_seconds)
        if spent or progress.step in LOOK_STEPS:
            _look(members, replicas, progress, spent=spent)
    return [_result(member, note) for member in members]


def _until_look(step: int, batch_size: int) -> int:
    """Return how many steps to take next: to the next look, or fewer if a block would grow too large."""
    following = next((one for one in LOOK_STEPS if one > step), step + MOST_STEPS)
    return min(following - step, MOST_STEPS, max(1, MOST_INDICES // batch_size))


def pieces(
    task: Task, run: Run, seed: int, device: torch.device, epochs: Iterable[int] | None = None
) -> Iterator[Piece]:  # fmt: skip
    """Yield data and indices of each batch of `seed`, as the plain loop sees them.

    Args:
        task: What to train.
        run: Says sampling, batch size and dtype.
        seed: Of data and order.
        device: Where the data are put.
        epochs: Which ones; None for one after another without end.
    """
    dtype = getattr(torch, run.dtype)
    fixed = _row_major(task.train.to(device, dtype)) if isinstance(task.train, Examples) else None
    for epoch in itertools.count() if epochs is None else epochs:
        data = fixed or _row_major(task.train.epoch(seed, epoch).to(device, dtype))
        orders = {"order": generator(seed, "order", epoch), "base": generator(seed, "order base")}
        empty = True
        for indices in run.sampling.epoch(len(data), run.batch_size, number=epoch, **orders):
            empty = False
            yield data, indices
        if empty:
            return


def _row_major(data: Examples) -> Examples:
    return Examples(data.inputs.contiguous(), data.targets.contiguous())


class UnevenBatches(Exception):
    """Seeds do not have their smaller batch at the same step, so that they cannot train in step with each other."""


def _groups(taken: dict[int, list[Piece]]) -> Iterator[dict[int, list[Piece]]]:
    """Yield the pieces of all seeds in runs of one batch size and one epoch's data.

    Raises:
        UnevenBatches: If the seeds' batches differ in size.
    """
    first = next(iter(taken.values()))
    sizes = {tuple(len(index) for _, index in some) for some in taken.values()}
    if len(sizes) > 1:
        raise UnevenBatches
    start = 0
    for _, group in itertools.groupby(first, key=lambda piece: (id(piece[0]), len(piece[1]))):
        size = len(list(group))
        yield {seed: some[start : start + size] for seed, some in taken.items()}
        start += size


def _advance(
    members: Sequence[_Member], replicas: Replicas, progress: Progress, taken: dict[int, list[Piece]], seconds: float
) -> tuple[Progress, bool]:
    """Return the progress after all pieces, and whether the budget is spent (then the rest of them is left)."""
    run = members[0].run
    for group in _groups(taken):
        size = len(next(iter(group.values()))[0][1])
        factors: list[float] = []
        reached = [progress]
        spent = False
        for _ in range(len(next(iter(group.values())))):
            factors.append(run.schedule.factor(run.budget.used(reached[-1])))
            step, examples = reached[-1].step + 1, reached[-1].examples + size
            reached.append(Progress(step, examples, step * seconds, progress.train_size))
            if run.budget.used(reached[-1]) >= 1:
                spent = True
                break
        active = [at for at, member in enumerate(members) if member.ending is None]
        if active:
            asked = block([members[at].run for at in active], group, factors, progress.step, size)
            for at, losses in zip(active, replicas.advance(active, asked), strict=True):
                if not bool(losses[-1].isfinite()):
                    members[at].ending, members[at].end = Ending.DIVERGED, reached[len(losses)]
        progress = reached[-1]
        if spent:
            return progress, True
    return progress, False


def block(runs: Sequence[Run], group: dict[int, list[Piece]], factors: list[float], step: int, size: int) -> Block:
    """Return the block of the steps after `step`, one for each of `factors`, all with batches of `size` examples."""
    count = len(factors)
    share = size / runs[0].batch_size
    rates = np.array([run.learning_rate for run in runs])[:, None] * np.array(factors) * share
    steps = np.broadcast_to(np.arange(step + 1, step + count + 1, dtype=float), rates.shape)
    coefficients = np.stack(runs[0].optimizer.coefficients(rates, steps), axis=-1)
    index = {seed: torch.stack([indices for _, indices in some[:count]]) for seed, some in group.items()}
    return Block({seed: some[0][0] for seed, some in group.items()}, index, coefficients)


def _look(members: Sequence[_Member], replicas: Replicas, progress: Progress, *, spent: bool = False) -> None:
    for at, member in enumerate(members):
        if member.ending is not None:
            continue
        seen = member.looks.take(
            functools.partial(replicas.module, at), progress, functools.partial(replicas.means, at),
            functools.partial(replicas.gradient_sums, at), spent=spent,
        )  # fmt: skip
        if progress.step == 0:
            continue  # as in the plain loop, the look before the first step ends nothing
        if seen or spent:
            member.ending, member.end = seen or Ending.BUDGET, progress


def _result(member: _Member, note: str) -> RunResult:
    assert member.ending is not None
    assert member.end is not None
    notes = "; ".join(one for one in (note, *member.looks.notes) if one)
    end, records = member.end, record_table(member.looks.records)
    return RunResult(member.run, member.ending, end.step, end.examples, end.seconds, records, notes)
