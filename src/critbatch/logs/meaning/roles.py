"""Which column has which role: named by the user, or guessed by its name."""

import re
from collections.abc import Iterable, Mapping

import polars as pl

from ...log import ALIASES, ROLES, name_keys, split_unit

BIG_UNITS = {
    **dict.fromkeys(("k", "thousand", "thousands", "in thousands", "1000", "x1000", "×1000", "1e3", "10^3", "1000s"), 1e3),
    **dict.fromkeys(("million", "millions", "in millions", "1e6", "10^6"), 1e6),
}  # fmt: skip
OWN_UNITS = {
    "steps": {"steps", "step", "updates", "iterations", "iters"},
    "examples": {"examples", "samples", "images"},
    "epochs": {"epochs", "epoch", "passes"},
}
NO_UNITS = {"", "#", "n", "number", "count", "mean", "avg", "average", "total", "to target", "sd", "std", "se", "sem"}
MULTIPLIER = re.compile(r"[x×*]?\s*(?:k|m|thousands?|millions?|10+|1e-?\d+|10\s*(?:\^|\*\*)\s*-?\d+|log\w*|%|percent)")
PER_DEVICE = ("perdevice", "pergpu")


def check(columns: Mapping[str, str], names: Iterable[str]) -> None:
    """Check the columns that the user named.

    Raises:
        ValueError: If a role does not exist or a column is not there.
    """
    there = list(names)
    for role, name in columns.items():
        if role not in ROLES:
            raise ValueError(f"--column {role}={name}: there is no role {role!r}. There are: {', '.join(ROLES)}.")
        if name not in there:
            raise ValueError(f"--column {role}={name}: there is no column {name!r}. There are: {listed(there)}.")


def listed(names: Iterable[str]) -> str:
    """Return names for a message, at most twenty."""
    found = [repr(name) for name in names]
    return ", ".join(found[:20]) + (f" and {len(found) - 20} more" if len(found) > 20 else "")


def filled(frame: pl.DataFrame) -> str:
    """Return the names of the columns that have a cell, for a message."""
    return listed(name for name in frame.columns if frame[name].null_count() < len(frame)) or "none"


def find(frame: pl.DataFrame, role: str, columns: Mapping[str, str]) -> str | None:
    """Return the column of a role, or None: as the user said, else by its name, the surest names first.

    Columns without a cell are no candidates, and candidates of the same cells are one.

    Raises:
        ValueError: If several columns are as likely.
    """
    if role in columns:
        return columns[role]
    taken = set(columns.values())
    names = [name for name in frame.columns if name not in taken and frame[name].null_count() < len(frame)]
    for group in ALIASES[role]:
        for part in (0, 1):
            found = [name for name in names if name_keys(name)[part] in group]
            differing = [name for name in found[1:] if not _same(frame[name], frame[found[0]])]
            if differing:
                raise ValueError(
                    f"{listed([found[0], *differing])} may each be the {role.replace('_', ' ')}. "
                    f"Choose with --column {role}=NAME."
                )
            if found:
                return found[0]
    return None


def require(frame: pl.DataFrame, role: str, columns: Mapping[str, str]) -> str:
    """Return the column of a role.

    Raises:
        ValueError: If there is none or several are as likely. The message lists the columns.
    """
    found = find(frame, role, columns)
    if found is None:
        raise ValueError(
            f"There is no column of the {role.replace('_', ' ')}. Name it with --column {role}=NAME. "
            f"The columns with cells are: {filled(frame)}."
        )
    return found


def unit_factor(quantity: str, name: str) -> tuple[float, list[str]]:
    """Return what a column's numbers are multiplied by, and a note if that is not 1: "steps (k)" is in thousands.

    Args:
        quantity: "steps", "examples" or "epochs".
        name: The column's name, perhaps with a unit in parentheses.

    Raises:
        ValueError: If the unit is of another quantity or not known.
    """
    unit = split_unit(name)[1].casefold()
    if unit in NO_UNITS | OWN_UNITS[quantity]:
        return 1.0, []
    if unit in BIG_UNITS:
        factor = BIG_UNITS[unit]
        return factor, [f"{name!r} says that it is in units of {factor:,.0f}: its numbers were multiplied by that."]
    raise ValueError(
        f"Column {name!r} is taken as {quantity}, but its unit {unit!r} says otherwise or is not known. "
        f"Rename the column, or name its role: --column steps=NAME, examples=NAME or epochs=NAME."
    )


def refuse_multiplier(name: str) -> None:
    """Refuse a batch size or learning rate in thousands, thousandths, logarithms or percent.

    Raises:
        ValueError: If the name says so in parentheses.
    """
    unit = split_unit(name)[1].casefold()
    if MULTIPLIER.fullmatch(unit):
        raise ValueError(
            f"Column {name!r} is in units of {unit!r}. Write its plain numbers under a name without a unit."
        )


def batch_size_notes(name: str) -> list[str]:
    """Return a warning if the batch size may be that of one device."""
    if any(word in name_keys(name)[0] for word in PER_DEVICE):
        return [
            f"{name!r} may be the batch size of one device: with several devices or accumulated gradients, name the "
            f"column of all examples of one step with --column batch_size=NAME."
        ]
    return []


def taken(found: Mapping[str, str | None]) -> dict[str, str]:
    """Return the roles that have a column."""
    return {role: name for role, name in found.items() if name is not None}


def unused(names: Iterable[str], used: Mapping[str, str]) -> list[str]:
    """Return a note on the columns that have no role, or nothing."""
    left = [name for name in names if name not in set(used.values())]
    return [f"Not used: {listed(left)}."] if left else []


def _same(one: pl.Series, other: pl.Series) -> bool:
    return one.cast(pl.String, strict=False).equals(other.cast(pl.String, strict=False), null_equal=True)
