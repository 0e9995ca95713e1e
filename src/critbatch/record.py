"""How runs end, what they leave behind, and the tables that judges and fits read."""

import enum
from dataclasses import dataclass
from typing import NamedTuple, final

import polars as pl


class Ending(enum.Enum):
    """Why a run stopped. Every run in a plan has exactly one."""

    TARGET = "reached its target"
    BUDGET = "spent its budget"
    DIVERGED = "loss stopped being finite"
    INFEASIBLE = "ran out of memory"
    FAILED = "raised an error"


class Record(NamedTuple):
    """One number seen during a run. `seconds` is training time alone: looks and measurements do not count."""

    step: int
    examples: int
    seconds: float
    quantity: str
    value: float


RECORD_SCHEMA = {
    "step": pl.Int64,
    "examples": pl.Int64,
    "seconds": pl.Float64,
    "quantity": pl.String,
    "value": pl.Float64,
}

RUN_SCHEMA = {
    "run": pl.String,
    "task": pl.String,
    "revision": pl.String,
    "batch_size": pl.Int64,
    "micro_batch_size": pl.Int64,
    "learning_rate": pl.Float64,
    "seed": pl.Int64,
    "optimizer": pl.String,
    "schedule": pl.String,
    "sampling": pl.String,
    "budget": pl.String,
    "target": pl.String,
    "measurements": pl.String,
    "dtype": pl.String,
    "ending": pl.String,
    "steps": pl.Int64,
    "examples": pl.Int64,
    "seconds": pl.Float64,
    "note": pl.String,
}


def record_table(records: list[Record]) -> pl.DataFrame:
    """Return records as a table with `RECORD_SCHEMA`; NaN stays NaN."""
    return pl.DataFrame(records, schema=RECORD_SCHEMA, orient="row")


@final
@dataclass(frozen=True)
class Evidence:
    """Two tables: `runs` (`RUN_SCHEMA`, one row a run) and `records` (a run column, then `RECORD_SCHEMA`)."""

    runs: pl.DataFrame
    records: pl.DataFrame
