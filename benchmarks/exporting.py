"""From a store of ours to files that peers can read without critbatch, and from a part of a sweep to the whole."""

import json
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch

from critbatch import catalog
from critbatch.measurement import look_steps
from critbatch.stores.sql import Sql

OVERHEAD_EXAMPLES = 300  # a step of a small model costs about as much as this many further examples


@final
@dataclass(frozen=True)
class Export:
    """The runs that peers are to train, and how many the plan has at each batch size."""

    chosen: tuple[dict[str, Any], ...]
    counts: Mapping[int, int]

    @property
    def total(self) -> int:
        """Return the number of runs in the plan."""
        return sum(self.counts.values())


def export(store: Path, folder: Path, *, fraction: float) -> Export:
    """Write plan.json, splits.npz and model.pt to `folder` for the latest study of a store.

    Args:
        store: A file written by `critbatch run`.
        folder: Where the files go.
        fraction: Of the runs of each batch size, drawn at random with a fixed seed; at least one of each.
    """
    with Sql(store, read_only=True) as kept:
        study = kept.studies()[0]
        rows = kept.evidence(study.run_ids).runs.to_dicts()
    task = catalog.load_task(study.name)
    runs = [_run(row, len(task.train)) for row in rows]
    chosen = stratified(runs, fraction)
    (folder / "plan.json").write_text(json.dumps(chosen), "utf-8")
    train = task.train.epoch(0, 0)
    splits = {"train": train, **{name if name != "train" else "train look": part for name, part in task.splits.items()}}
    arrays = {f"{name} inputs": part.inputs.numpy() for name, part in splits.items()}
    arrays |= {f"{name} targets": part.targets.numpy() for name, part in splits.items()}
    np.savez(folder / "splits.npz", allow_pickle=False, **arrays)
    torch.save(task.initialise(0), folder / "model.pt")
    return Export(tuple(chosen), Counter(run["batch_size"] for run in runs))


def stratified(runs: Sequence[dict[str, Any]], fraction: float) -> list[dict[str, Any]]:
    """Return a random part of the runs of each batch size, at least one."""
    draw = random.Random(0)
    by_size: dict[int, list[dict[str, Any]]] = {}
    for run in runs:
        by_size.setdefault(run["batch_size"], []).append(run)
    return [run for same in by_size.values() for run in draw.sample(same, math.ceil(fraction * len(same)))]


def steps_of(budget: Mapping[str, Any], batch_size: int, train_size: int) -> int:
    """Return the steps that spend a budget as it is described in a run table.

    Raises:
        ValueError: If it is one that does not follow from steps, such as seconds.
    """
    match budget["kind"]:
        case "Longest":
            return max(steps_of(one, batch_size, train_size) for one in budget["budgets"])
        case "Steps":
            return math.ceil(budget["steps"])
        case "Epochs":
            return math.ceil(budget["epochs"] * train_size / batch_size)
        case "Examples":
            return math.ceil(budget["examples"] / batch_size)
    raise ValueError(f"a budget of {budget['kind']} cannot be given to peers. Use steps, epochs or examples.")


def estimated(runs: Export, rows: Sequence[Mapping[str, Any]], wall: float, workers: int) -> float:
    """Return the wall time of the whole sweep from a part of it: the wall time itself if the part is the whole.

    What did not go into runs counts once; the runs' seconds are scaled up batch size by batch size and shared among the
    workers without a rest, which flatters the peer.
    """
    if len(runs.chosen) == runs.total:
        return wall
    seconds: dict[int, list[float]] = {}
    for row in rows:
        seconds.setdefault(row["batch_size"], []).append(row["seconds"])
    spent = sum(map(sum, seconds.values()))
    whole = sum(runs.counts[size] * sum(some) / len(some) for size, some in seconds.items())
    return max(0.0, wall - spent / workers) + whole / workers


def _run(row: Mapping[str, Any], train_size: int) -> dict[str, Any]:
    size = row["batch_size"]
    steps = steps_of(json.loads(row["budget"]), size, train_size)
    return {
        "batch_size": size, "learning_rate": row["learning_rate"], "seed": row["seed"], "steps": steps,
        "looks": [step for step in look_steps() if 0 < step <= steps], "cost": steps * (size + OVERHEAD_EXAMPLES),
    }  # fmt: skip
