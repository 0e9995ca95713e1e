"""MLflow: its folder of plain files (`mlruns/`) and its SQLite file. Read without the package `mlflow`."""

import contextlib
import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from ..log import TrackedRun

SQLITE = b"SQLite format 3\0"
METRICS = """
    SELECT run_uuid, key, step, CASE WHEN is_nan THEN NULL ELSE value END FROM metrics ORDER BY run_uuid, key, step, timestamp
"""
LARGEST = 1.7976931348623157e308  # how MLflow writes infinity into SQL


def recognizes(path: Path) -> bool:
    """Return whether `path` is an SQLite file, or a folder of MLflow's: of runs, of an experiment or of one run."""
    if path.is_file():
        with path.open("rb") as file:
            return file.read(len(SQLITE)) == SQLITE
    return any(True for _ in _run_folders(path))


def read(path: Path) -> list[TrackedRun]:
    """Return the runs that are not deleted.

    Raises:
        ValueError: If the file is no database of MLflow, or a metric's line cannot be read.
    """
    return _from_sql(path) if path.is_file() else [_from_folder(folder) for folder in sorted(_run_folders(path))]


def _run_folders(path: Path) -> Iterator[Path]:
    """Yield the folders of runs at most two below `path` (store/experiment/run)."""
    for depth in ("meta.yaml", "*/meta.yaml", "*/*/meta.yaml"):
        for meta in path.glob(depth):
            about = _meta(meta)
            is_run = (meta.parent / "metrics").is_dir() or "run_uuid" in about or "run_id" in about
            if is_run and about.get("lifecycle_stage", "active") == "active" and ".trash" not in meta.parts:
                yield meta.parent


def _meta(file: Path) -> dict[str, str]:
    """Return the lines `name: value` of a file without nesting, as texts."""
    pairs = (line.partition(": ") for line in file.read_text("utf-8").splitlines())
    return {name.strip(): value.strip().strip("'\"") for name, separator, value in pairs if separator}


def _from_folder(folder: Path) -> TrackedRun:
    title = _meta(folder / "meta.yaml").get("run_name", "")
    tag = folder / "tags" / "mlflow.runName"
    title = title or (tag.read_text("utf-8").strip() if tag.is_file() else "")
    config = {name: file.read_text("utf-8") for name, file in _files(folder / "params")}
    series = {name: _metric(file) for name, file in _files(folder / "metrics")}
    return TrackedRun(f"{title} ({folder.name})" if title else folder.name, config, series)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            yield file.relative_to(folder).as_posix(), file


def _metric(file: Path) -> tuple[list[float], list[float]]:
    """Return steps and values of a file of lines `timestamp value step`; early versions wrote no step.

    Raises:
        ValueError: If a line is another.
    """
    steps: list[float] = []
    values: list[float] = []
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        parts = line.split()
        if not parts:
            continue
        try:
            values.append(float(parts[1]))
            steps.append(float(parts[2]) if len(parts) > 2 else float(len(steps)))
        except (ValueError, IndexError) as error:
            raise ValueError(
                f"MLflow metric {file.name!r} of run {file.parents[1].name!r}, line {number}: {error}."
            ) from error
    order = sorted(range(len(steps)), key=lambda index: steps[index])
    return [steps[index] for index in order], [values[index] for index in order]


def _from_sql(path: Path) -> list[TrackedRun]:
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            runs = connection.execute("SELECT run_uuid, name FROM runs WHERE lifecycle_stage = 'active'").fetchall()
            params = connection.execute("SELECT run_uuid, key, value FROM params").fetchall()
            metrics = connection.execute(METRICS).fetchall()
    except sqlite3.Error as error:
        raise ValueError(f"This is no database of MLflow, or a damaged one: {error}.") from error
    config: dict[str, dict[str, str]] = {run: {} for run, _ in runs}
    series: dict[str, dict[str, tuple[list[float], list[float]]]] = {run: {} for run, _ in runs}
    for run, key, value in params:
        if run in config:
            config[run][key] = value
    for run, key, step, value in metrics:
        if run in series:
            steps, values = series[run].setdefault(key, ([], []))
            steps.append(float(step))
            values.append(_number(value))
    return [TrackedRun(f"{name} ({run})" if name else run, config[run], series[run]) for run, name in sorted(runs)]


def _number(value: float | None) -> float:
    if value is None:
        return math.nan
    return math.copysign(math.inf, value) if abs(value) >= LARGEST else float(value)
