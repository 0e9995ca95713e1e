"""The wide form: one row a batch size, one column a seed."""

import re
from collections.abc import Mapping

import polars as pl

from ...log import Sheet, name_keys
from . import cells, roles
from .units import QUANTITIES

_QUANTITY = r"(?P<{}>steps|iterations|updates|examples|samples|epochs)?(?:totarget)?"
SEED = re.compile(
    _QUANTITY.format("before") + r"(?:seed|run|trial|repeat|replicate|rep)(?P<seed>\d+)" + _QUANTITY.format("after")
)
WORDS = {"examples": "examples", "samples": "examples", "epochs": "epochs"}


def seed_columns(frame: pl.DataFrame, columns: Mapping[str, str]) -> dict[str, re.Match[str]]:
    """Return the columns that each hold one seed's steps, examples or epochs; none where the user named such a column."""
    if any(role in columns for role in (*QUANTITIES, "mean", "metric", "step")):
        return {}
    matches = {name: SEED.fullmatch(name_keys(name)[0]) for name in frame.columns if name not in columns.values()}
    return {name: match for name, match in matches.items() if match}


def lengthen(sheet: Sheet, columns: Mapping[str, str]) -> tuple[Sheet, dict[str, str], list[str]]:
    """Return one row a run, the roles of the new columns, and notes. Blank cells are runs that were not made.

    Raises:
        ValueError: If the seeds' columns are of different quantities or units, or all blank.
    """
    seeds = seed_columns(sheet.frame, columns)
    quantities = {WORDS.get(match["before"] or match["after"] or "", "steps") for match in seeds.values()}
    if len(quantities) > 1:
        raise ValueError(f"The columns {roles.listed(seeds)} are of different quantities: {', '.join(quantities)}.")
    quantity = quantities.pop()
    factors = {roles.unit_factor(quantity, name)[0] for name in seeds}
    if len(factors) > 1:
        raise ValueError(f"The columns {roles.listed(seeds)} are of different units. Write all in one unit.")
    unit = name_of_unit(next(iter(seeds)))
    value, seed = f"{quantity} to target{unit}", "seed"
    kept = [
        name for name in (roles.find(sheet.frame, role, columns) for role in ("batch_size", "learning_rate")) if name
    ]
    parts: list[pl.DataFrame] = []
    for name, match in seeds.items():
        cell = sheet.frame[name].cast(pl.String).alias(value)
        place = pl.Series("place", [f"{where} ({name})" for where in sheet.places], dtype=pl.String)
        label = pl.Series(seed, [str(int(match["seed"]))] * len(cell), dtype=pl.String)
        parts.append(sheet.frame.select(kept).with_columns(label, cell, place))
    table = pl.concat(parts)
    is_blank = table[value].is_null() | (table[value].str.strip_chars() == "")
    notes = [f"One row a batch size, one column a seed: {roles.listed(seeds)} are read as {quantity} to target."]
    if is_blank.all():
        raise ValueError(f"All cells of {roles.listed(seeds)} are blank. Write the {quantity} to target into them.")
    if is_blank.any():
        blanks = cells.where(table.filter(is_blank)["place"])
        notes.append(f"Blank in {blanks}: taken as runs that were not made. Write '>5000' where a run did not arrive.")
    left = [name for name in sheet.frame.columns if name not in {*kept, *seeds}]
    if left:
        notes.append(f"Not used: {roles.listed(left)}.")
    table = table.filter(~is_blank)
    long = Sheet(table.drop("place"), table["place"], sheet.decimal)
    return long, {quantity: value, "seed": seed}, notes


def name_of_unit(name: str) -> str:
    """Return the unit in parentheses at the end of a name, as it is written there; "" where there is none."""
    match = re.search(r"\s*[(\[][^()\[\]]*[)\]]\W*$", name)
    return match.group() if match else ""
