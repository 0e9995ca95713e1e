"""Readers of logs that other people's training left behind, one file a source."""

from collections.abc import Mapping
from pathlib import Path

from ..log import Log
from . import mlflow, table, tensorboard, wandb
from .meaning import interpret
from .meaning.tracked import read_tracked

TRACKERS = {"W&B": wandb, "TensorBoard": tensorboard, "MLflow": mlflow}


def read_log(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    train_size: int | None = None,
    kind: str | None = None,
) -> Log:
    """Return the log at a path: its runs, its means or its curves, in steps, with notes on what was guessed.

    Read are CSV and its relatives (.csv, .tsv, .txt), JSON, JSON Lines, Parquet, event files of TensorBoard, runs of W&B
    on disk, and MLflow's folder or SQLite file. None needs another package.

    Args:
        path: A file, or a folder of a tracker.
        columns: Role to the name in the log, instead of a guess: {"batch_size": "train.bs"}. The roles are
            `critbatch.log.ROLES`.
        train_size: Training examples per epoch, for logs in epochs.
        kind: "runs", "summaries" or "curves"; None to tell by the columns.

    Raises:
        ValueError: If there is nothing that can be read with certainty. The message names the rows and what to do.
    """
    place = Path(path).expanduser()
    try:
        return _read(place, columns or {}, train_size, kind)
    except OSError as error:
        raise ValueError(f"{str(path)!r} cannot be opened: {error.strerror or error}.") from error
    except ValueError as error:
        raise ValueError(f"{str(path)!r}: {error}") from error


def _read(path: Path, columns: Mapping[str, str], train_size: int | None, kind: str | None) -> Log:
    if not path.exists():
        raise ValueError("There is no such file or folder. Check the path.")
    found = [name for name, source in TRACKERS.items() if source.recognizes(path)]
    if len(found) > 1:
        raise ValueError(f"The folder holds runs of {' and of '.join(found)}. Name the folder of one of them.")
    if found:
        runs = TRACKERS[found[0]].read(path)
        if not runs:
            raise ValueError(f"{found[0]} kept no run here. Name another folder.")
        return read_tracked(runs, columns, train_size, kind)
    if path.is_dir():
        raise ValueError(
            "The folder holds no runs of TensorBoard (*tfevents*), W&B (run-*.wandb) or MLflow (meta.yaml). "
            "Name a file with a table, or another folder."
        )
    return interpret(table.read(path), columns, train_size, kind)
