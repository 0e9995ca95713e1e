"""Files for the readers, and what is read of them in short form."""

from pathlib import Path
from typing import Any

import polars as pl

from critbatch.log import Log
from critbatch.logs import read_log


def read_text(folder: Path, text: str | bytes, name: str = "log.csv", **options: Any) -> Log:
    """Return what is read of a file with this content."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_log(path, **options)


def runs(log: Log) -> list[tuple[Any, ...]]:
    """Return (batch size, steps, reached) of each run."""
    assert log.runs is not None
    return log.runs.select("batch_size", "steps", "reached").rows()


def curves(log: Log) -> pl.DataFrame:
    assert log.curves is not None
    return log.curves


def summaries(log: Log) -> pl.DataFrame:
    assert log.summaries is not None
    return log.summaries


def said(log: Log, text: str) -> bool:
    """Return whether a note has this text."""
    return any(text in note for note in log.notes)
