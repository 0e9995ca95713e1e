"""Evidence in a small folder: what judges read of many runs, and no more, as Parquet files and a list of tasks."""

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, final

import polars as pl

from .finding import TaskFacts
from .record import RECORD_SCHEMA, RUN_SCHEMA, Evidence

EVERY = 2  # losses and metrics are kept at every second look,
LAST = 6  # and at all of the last ones, since ends are read as medians
DIGITS = 5  # significant
COMMON = r"^(train|validation|test)_"
RUNS, RECORDS, TASKS, SECONDS = "runs.parquet", "records.parquet", "tasks.json", "seconds.json"
KEYS = ("run", "step", "examples", "seconds")


def thin(evidence: Evidence) -> Evidence:
    """Return what judges read: all that was measured, and losses and metrics there, at every second look and the last six.

    Numbers keep five significant digits in single precision. What comes from an archive is thin already; the same
    judge reads the same numbers from either.
    """
    common = pl.col("quantity").str.contains(COMMON)
    looks = evidence.records.filter(common).select("run", "step").unique().sort("run", "step")
    place = pl.int_range(pl.len()).over("run")
    kept = looks.filter((place % EVERY == 0) | (place >= pl.len().over("run") - LAST))
    measured = evidence.records.filter(~common).select("run", "step")  # a look without its loss would be a hole in it
    whole = pl.concat([kept, measured]).unique()
    thinned = evidence.records.filter(common).join(whole, on=["run", "step"], how="semi", maintain_order="left")
    records = pl.concat([thinned, evidence.records.filter(~common)]).with_columns(
        pl.col("value", "seconds").round_sig_figs(DIGITS).cast(pl.Float32).cast(pl.Float64)
    )
    return Evidence(evidence.runs, records)


@final
class Archive:
    """Thinned evidence of many runs and the facts of their tasks; empty to begin with.

    Attributes:
        facts: Of each task, by its name.
        seconds: What gathering took on the computer that did it, by whatever the caller calls a piece of it.
    """

    def __init__(self) -> None:
        self.facts: dict[str, TaskFacts] = {}
        self.seconds: dict[str, float] = {}
        self._runs: dict[str, dict[str, Any]] = {}
        self._records: dict[str, pl.DataFrame] = {}

    def add(self, evidence: Evidence, facts: Iterable[TaskFacts]) -> None:
        """Keep evidence that is thin, unless its runs are there; FAILED ones are not kept."""
        self.facts |= {one.name: one for one in facts}
        records = {str(key[0]): part for key, part in evidence.records.partition_by("run", as_dict=True).items()}
        for row in evidence.runs.filter(pl.col("ending") != "FAILED").iter_rows(named=True):
            if row["run"] not in self._runs:
                self._runs[row["run"]] = row
                self._records[row["run"]] = records.get(row["run"], evidence.records.clear())

    def holds(self, run: str) -> bool:
        """Return whether a run is there."""
        return run in self._runs

    def evidence(self, runs: Iterable[str] | None = None) -> Evidence:
        """Return those of these runs that are there, in this order; all of them for None."""
        there = [one for one in (self._runs if runs is None else runs) if one in self._runs]
        table = pl.DataFrame([self._runs[one] for one in there], schema=RUN_SCHEMA)
        parts = [self._records[one] for one in there]
        return Evidence(table, pl.concat(parts) if parts else pl.DataFrame(schema={"run": pl.String} | RECORD_SCHEMA))


def write(archive: Archive, folder: Path) -> None:
    """Write an archive into `folder`, replacing what is there.

    Losses and metrics of one look share a row, so that the files stay small.
    """
    folder.mkdir(parents=True, exist_ok=True)
    evidence = archive.evidence()
    ids = evidence.runs.select("run").with_row_index("number")
    small = {"step": pl.Int32, "examples": pl.Int64, "seconds": pl.Float32}
    keys = ["number", *small]
    wide = evidence.records.join(ids, on="run").pivot(
        "quantity", index=keys, values="value", aggregate_function="first"
    )
    numbers = [pl.col(name).cast(pl.Float32) for name in wide.columns if name not in keys]
    wide = wide.sort("number", "step").select(
        "number", *(pl.col(name).cast(kind) for name, kind in small.items()), *numbers
    )
    wide.write_parquet(folder / RECORDS, compression="zstd", compression_level=19)
    evidence.runs.write_parquet(folder / RUNS, compression="zstd", compression_level=19)
    facts = [dataclasses.asdict(archive.facts[name]) for name in sorted(archive.facts)]
    for name, document in ((TASKS, facts), (SECONDS, archive.seconds)):
        (folder / name).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read(folder: Path) -> Archive:
    """Return what `write` left in `folder`.

    Raises:
        ValueError: If it holds no archive.
    """
    if missing := [name for name in (RUNS, RECORDS, TASKS, SECONDS) if not (folder / name).is_file()]:
        raise ValueError(f"{folder} is no archive of evidence: it lacks {', '.join(missing)}.")
    runs = pl.read_parquet(folder / RUNS).select(pl.col(name).cast(kind) for name, kind in RUN_SCHEMA.items())
    wide = pl.read_parquet(folder / RECORDS)
    keys = ["number", "step", "examples", "seconds"]
    records = (
        wide.unpivot([name for name in wide.columns if name not in keys], index=keys, variable_name="quantity")
        .drop_nulls("value")
        .join(runs.select("run").with_row_index("number"), on="number")
        .select("run", *(pl.col(name).cast(kind) for name, kind in RECORD_SCHEMA.items()))
    )
    found = Archive()
    facts = json.loads((folder / TASKS).read_text("utf-8"))
    found.add(Evidence(runs, records), [TaskFacts(**one) for one in facts])
    found.seconds |= json.loads((folder / SECONDS).read_text("utf-8"))
    return found
