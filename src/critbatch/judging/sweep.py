"""A user's own sweep as evidence for claims that any sweep can speak to."""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from ..archive import thin
from ..claim import Exhibit, Seen
from ..finding import TaskFacts
from ..record import Evidence

ARM = "sweep"


def exhibit_of_sweep(evidence: Evidence, facts: TaskFacts, plan: Mapping[str, Any]) -> Exhibit | None:
    """Return the runs of a sweep that a judge may read, or None if claims about plain SGD say nothing of it.

    These are the runs without momentum or weight decay, at a constant learning rate, in a new order every epoch; of the
    seeds on which learning rates were chosen.

    Args:
        evidence: Of the sweep.
        facts: The task's.
        plan: The study's description of its plan.
    """
    if not len(evidence.runs) or facts.train_size is None:
        return None
    runs = evidence.runs.filter(pl.col("measurements") == "[]")
    if plan.get("seeds"):
        runs = runs.filter(pl.col("seed").is_in(list(plan["seeds"])))
    plain = [row for row in runs.iter_rows(named=True) if _is_plain(row)]
    if not plain:
        return None
    seen = tuple(Seen(row["run"], row["batch_size"], row["learning_rate"], row["seed"]) for row in plain)
    ids = [one.id for one in seen]
    kept = Evidence(runs.filter(pl.col("run").is_in(ids)), evidence.records.filter(pl.col("run").is_in(ids)))
    return Exhibit("full", {"main": facts}, {ARM: seen}, thin(kept))


def _is_plain(row: Mapping[str, Any]) -> bool:
    optimizer, schedule, sampling = (json.loads(row[name]) for name in ("optimizer", "schedule", "sampling"))
    is_sgd = optimizer["kind"] == "SGD" and not (
        optimizer["momentum"] or optimizer["weight_decay"] or optimizer["clip_norm"]
    )
    return is_sgd and schedule["kind"] == "Constant" and sampling["kind"] == "Reshuffle"
