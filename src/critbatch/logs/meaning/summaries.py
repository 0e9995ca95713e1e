"""One row a batch size: mean, spread and count."""

import math
from collections.abc import Mapping

import polars as pl

from ...log import SUMMARIES, Log, Sheet, name_keys
from . import cells, roles, units

CENSORING = (
    "Means leave no trace of runs that did not reach the target. If there were any, give one row a run: the fit can "
    "use them."
)


def read_summaries(sheet: Sheet, columns: Mapping[str, str], train_size: int | None) -> Log:
    """Return a table of mean, spread and count as summaries, in steps.

    Raises:
        ValueError: If a column is missing, a cell has no meaning, or a batch size and learning rate stand twice.
    """
    frame = sheet.frame
    quantity, mean_name = _mean(frame, columns)
    used = {"batch_size": roles.require(frame, "batch_size", columns), "mean": mean_name}
    used |= roles.taken({role: roles.find(frame, role, columns) for role in ("learning_rate", "sd", "count")})
    used |= {} if "sd" in used else roles.taken({"se": roles.find(frame, "se", columns)})
    if "count" not in used or not {"sd", "se"} & set(used):
        raise ValueError(
            f"Means ({mean_name!r}) need two more columns: their standard deviation (--column sd=NAME) or standard error "
            f"(--column se=NAME), and how many runs (--column count=NAME). The columns with cells are: {roles.filled(frame)}."
        )
    sizes = cells.batch_sizes(sheet, used["batch_size"])
    rates = cells.learning_rates(sheet, used.get("learning_rate"))
    factor, notes = roles.unit_factor(quantity, mean_name)
    per_unit, conversion = units.steps_per_unit(quantity, sizes, train_size)
    means, counts = _means(sheet, mean_name), _counts(sheet, used["count"])
    spread_role = "sd" if "sd" in used else "se"
    spreads = _spreads(sheet, used[spread_role], counts)
    own_unit = roles.split_unit(used[spread_role])[1]
    spread_factor = roles.unit_factor(quantity, used[spread_role])[0] if own_unit else factor
    if spread_role == "se":
        spreads = [None if value is None else value * math.sqrt(n) for value, n in zip(spreads, counts, strict=True)]
        notes.append(f"{used['se']!r} times the square root of {used['count']!r} is the standard deviation of one run.")
    else:
        notes.append(f"{used['sd']!r} is taken as the standard deviation of one run, not of the mean.")
    table = pl.DataFrame(
        {
            "batch_size": sizes,
            "learning_rate": rates,
            "mean": [value * factor * per for value, per in zip(means, per_unit, strict=True)],
            "sd": [v if v is None else v * spread_factor * per for v, per in zip(spreads, per_unit, strict=True)],
            "count": counts,
        },
        schema=SUMMARIES,
    )
    repeated = table.select("batch_size", "learning_rate").is_duplicated().arg_true().to_list()
    if repeated:
        advice = "Keep one row for each batch size and learning rate."
        cells.refuse(sheet, repeated, used["batch_size"], "a batch size and learning rate twice", advice=advice)
    notes += [*conversion, *roles.batch_size_notes(used["batch_size"]), CENSORING, *roles.unused(frame.columns, used)]
    return Log(summaries=table, columns=used, notes=(*sheet.notes, *notes))


def _mean(frame: pl.DataFrame, columns: Mapping[str, str]) -> tuple[str, str]:
    """Return the quantity and the column of the mean: `mean_epochs`, or `epochs` beside a column of spreads.

    Raises:
        ValueError: If there is none.
    """
    for role in units.QUANTITIES:
        if role in columns:
            return role, columns[role]
    if name := roles.find(frame, "mean", columns):
        key = "".join(part.casefold() for part in (name_keys(name)[0], roles.split_unit(name)[1]))
        is_examples = "example" in key or "sample" in key
        return ("examples" if is_examples else "epochs" if "epoch" in key else "steps"), name
    for role in units.QUANTITIES:
        if name := roles.find(frame, role, columns):
            return role, name
    raise ValueError(
        f"There is no column of the mean. Name it with --column mean=NAME. The columns with cells are: {roles.filled(frame)}."
    )


def _means(sheet: Sheet, name: str) -> list[float]:
    values, marks = cells.quantities(sheet, name)
    bad = [
        row
        for row, (value, mark) in enumerate(zip(values, marks, strict=True))
        if value is None or mark.name != "NUMBER"
    ]
    if bad:
        advice = "Give one row a run instead: runs that did not reach the target then count as such."
        cells.refuse(sheet, bad, name, "no mean of steps to target", advice=advice)
    return [value for value in values if value is not None]


def _counts(sheet: Sheet, name: str) -> list[int]:
    values = cells.numbers(sheet, name)
    bad = [row for row, value in enumerate(values) if value is None or not (value >= 1 and value == value // 1)]
    if bad:
        cells.refuse(sheet, bad, name, "a count of runs is a whole number from 1", advice="Correct it.")
    return [int(value) for value in values]


def _spreads(sheet: Sheet, name: str, counts: list[int]) -> list[float | None]:
    values = [None if value is None or math.isnan(value) else value for value in cells.numbers(sheet, name)]
    bad = [row for row, value in enumerate(values) if value is not None and not 0 <= value < math.inf]
    if bad:
        cells.refuse(sheet, bad, name, "a spread is at least 0", advice="Correct it.")
    bad = [row for row, value in enumerate(values) if value is None and counts[row] > 1]
    if bad:
        cells.refuse(sheet, bad, name, "a mean of several runs needs its spread", advice="Write it.")
    return [None if count == 1 else value for value, count in zip(values, counts, strict=True)]
