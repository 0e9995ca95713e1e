"""From what a file says to what it means: names to roles, texts to numbers, units to steps."""

from collections.abc import Mapping

from ...log import KINDS, Log, Sheet, name_keys
from . import roles, wide
from .curves import read_curves
from .runs import read_runs
from .summaries import read_summaries
from .units import QUANTITIES

READERS = {"runs": read_runs, "summaries": read_summaries, "curves": read_curves}
LOOKS = frozenset({"epoch", "examplesseen", "samplesseen"})  # a look's position more often than a run's result


def interpret(sheet: Sheet, columns: Mapping[str, str], train_size: int | None, kind: str | None) -> Log:
    """Return what a table means.

    Args:
        sheet: The table.
        columns: Role to column name, as the user said.
        train_size: Examples per epoch, for tables in epochs.
        kind: "runs", "summaries" or "curves"; None to tell by the columns.

    Raises:
        ValueError: If it has no meaning that is certain enough. The message says what to do.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"--kind {kind}: there is no such kind. There are: {', '.join(KINDS)}.")
    if sheet.frame.is_empty():
        raise ValueError(f"There are names of columns ({roles.listed(sheet.frame.columns)}) but no rows. Give some.")
    roles.check(columns, sheet.frame.columns)
    return READERS[kind or _kind(sheet, columns)](sheet, columns, train_size)


def _kind(sheet: Sheet, columns: Mapping[str, str]) -> str:
    frame = sheet.frame
    if {"metric", "step"} & set(columns):
        return "curves"
    if {"mean", "sd", "se"} & set(columns):
        return "summaries"
    if set(QUANTITIES) & set(columns):
        return "runs"
    quantity = next((name for role in QUANTITIES if (name := roles.find(frame, role, columns))), None)
    has_spread = any(roles.find(frame, role, columns) for role in ("sd", "se"))
    has_mean = roles.find(frame, "mean", columns) is not None
    if quantity is None and wide.seed_columns(frame, columns):
        return "runs"
    if (has_mean and (has_spread or not quantity)) or (
        has_spread and quantity and not roles.find(frame, "seed", columns)
    ):
        return "summaries"
    position = quantity if quantity and name_keys(quantity)[0] in LOOKS else roles.find(frame, "step", columns)
    if roles.find(frame, "steps", columns) or position is None:
        return "runs"
    return "curves" if _repeats(sheet, columns) else "runs"


def _repeats(sheet: Sheet, columns: Mapping[str, str]) -> bool:
    """Return whether rows are looks of runs: several for one batch size, learning rate, seed and run."""
    keys = [roles.find(sheet.frame, role, columns) for role in ("batch_size", "learning_rate", "seed", "run")]
    names = [name for name in keys if name is not None]
    return not names or bool(sheet.frame.select(list(dict.fromkeys(names))).is_duplicated().any())
