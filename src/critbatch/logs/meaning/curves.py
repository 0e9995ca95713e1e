"""One row a look: a metric along the steps of runs."""

import re
from collections.abc import Mapping, Sequence

import polars as pl

from ...log import ALIASES, CURVES, Log, Sheet, name_keys
from . import cells, roles, units

# Names that stand beside a metric and are none.
CLOCKS = re.compile(r"(wall|relative)?time|timestamp|runtime|seconds|elapsed\w*|date\w*|unnamed\w*|index|datasetsize")
OTHERS = frozenset(
    name for role, groups in ALIASES.items() if role not in {"mean", "sd", "se"} for g in groups for name in g
)
IDENTITY = ("batch_size", "learning_rate", "seed")


def read_curves(sheet: Sheet, columns: Mapping[str, str], train_size: int | None) -> Log:
    """Return a table of one row a look as curves.

    Raises:
        ValueError: If a column is missing, a cell has no meaning, or a run has a step twice.
    """
    frame = sheet.frame
    quantity, position = _position(frame, columns)
    used = {"batch_size": roles.require(frame, "batch_size", columns), quantity: position}
    used |= roles.taken({role: roles.find(frame, role, columns) for role in ("learning_rate", "seed", "run")})
    left = [name for name in frame.columns if name not in used.values()]
    used["metric"] = choose_metric([name for name in left if _is_numeric(frame[name])], columns, left)
    metric, metric_notes = _metric(sheet, used["metric"])
    seen = metric.is_not_null()
    sizes = cells.batch_sizes(sheet, used["batch_size"])
    table = pl.DataFrame(
        {
            "run": cells.texts(sheet, used.get("run")),
            "batch_size": sizes,
            "learning_rate": cells.learning_rates(sheet, used.get("learning_rate")),
            "seed": cells.texts(sheet, used.get("seed")),
            "step": cells.numbers(sheet, position),
            "metric": metric,
        },
        schema=CURVES,
    ).with_columns(row=pl.int_range(pl.len()))
    table = table.filter(seen)
    bad = table.filter(~pl.col("step").is_between(0, 1e300).fill_null(False))["row"].to_list()
    if bad:
        cells.refuse(sheet, bad, position, "a look needs its step, at least 0", advice="Correct or delete these rows.")
    role = "steps" if quantity == "step" else quantity
    factor, notes = roles.unit_factor(role, position)
    per_unit, conversion = units.steps_per_unit(role, table["batch_size"], train_size)
    table = table.with_columns(pl.col("step") * factor * pl.Series(per_unit, dtype=pl.Float64))
    table, run_notes = _with_runs(sheet, table, used)
    doubled = table.filter(table.select("run", "step").is_duplicated())["row"].to_list()
    if doubled:
        advice = "Name what tells the runs apart: --column run=NAME or --column seed=NAME."
        cells.refuse(sheet, doubled, position, "a step twice in one run", advice=advice)
    if not seen.all():
        notes.append(f"{(~seen).sum()} rows have no {used['metric']!r}: they are no looks.")
    table = table.select(*CURVES).sort("batch_size", "learning_rate", "run", "step", maintain_order=True)
    notes += [*conversion, *metric_notes, *run_notes, *roles.batch_size_notes(used["batch_size"])]
    return Log(curves=table, columns=used, notes=(*sheet.notes, *notes, *roles.unused(frame.columns, used)))


def choose_metric(numeric: Sequence[str], columns: Mapping[str, str], there: Sequence[str]) -> str:
    """Return the metric: as the user said, or the only candidate.

    Args:
        numeric: The names that hold numbers and have no other role.
        columns: Role to name, as the user said.
        there: All names that have no other role, for the message.

    Raises:
        ValueError: If there is no candidate or several.
    """
    if "metric" in columns:
        return columns["metric"]
    found = [name for name in numeric if not is_known(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{roles.listed(found)} may each be the metric. Choose with --column metric=NAME.")
    names = roles.listed(there) or "none"
    raise ValueError(f"There is no metric. Name it with --column metric=NAME. The columns left are: {names}.")


def is_known(name: str) -> bool:
    """Return whether a name belongs to another role, to a clock or to the tracker itself."""
    whole, last = name_keys(name)
    return whole in OTHERS or last in OTHERS or name.startswith(("_", "system/")) or bool(CLOCKS.fullmatch(whole))


def _position(frame: pl.DataFrame, columns: Mapping[str, str]) -> tuple[str, str]:
    order = ("step", *units.QUANTITIES)
    for role in (*(role for role in order if role in columns), *order):
        if name := roles.find(frame, role, columns):
            return role, name
    raise ValueError(
        f"There is no column of the step. Name it with --column step=NAME. The columns with cells are: {roles.filled(frame)}."
    )


def _is_numeric(column: pl.Series) -> bool:
    if column.dtype != pl.String:
        return column.dtype.is_numeric()
    texts = column.drop_nulls().head(1000).str.strip_chars()
    texts = texts.filter(texts != "")
    return len(texts) > 0 and bool(
        texts.str.contains(r"^[+-]?[\d.,]*\d[\d.,]*([eE][+-]?\d+)?\s*%?$|(?i)^[+-]?(nan|inf)$").all()
    )


def _metric(sheet: Sheet, name: str) -> tuple[pl.Series, list[str]]:
    """Return the metric as numbers; "93.5%" is 93.5, said in a note, if all cells are written so."""
    column = sheet.frame[name]
    if column.dtype != pl.String:
        return cells.numbers(sheet, name), []
    is_percent = column.str.contains(r"%\s*$").fill_null(False)
    if not is_percent.any():
        return cells.numbers(sheet, name), []
    others = ~is_percent & (column.str.strip_chars().fill_null("") != "")
    if others.any():
        advice = "Write all rows in one unit."
        cells.refuse(sheet, others.arg_true().to_list(), name, "no percent sign, which other rows have", advice=advice)
    plain = Sheet(sheet.frame.with_columns(column.str.replace(r"%\s*$", "")), sheet.places, sheet.decimal)
    return cells.numbers(plain, name), [f"{name!r} is in percent: give the target in percent too."]


def _with_runs(sheet: Sheet, table: pl.DataFrame, used: dict[str, str]) -> tuple[pl.DataFrame, list[str]]:
    """Return the table with one name for each run: the run column, or what is known of it where that is not enough."""
    notes: list[str] = []
    identity = [key for key in IDENTITY if key in used]
    if "run" in used:
        unnamed = table.filter(pl.col("run").is_null())["row"].to_list()
        if unnamed:
            cells.refuse(sheet, unnamed, used["run"], "a look needs its run", advice="Write the run in every row.")
        if table.select("run").n_unique() == table.select("run", *identity).n_unique():
            return table, notes
        if "seed" not in used:
            table = table.with_columns(seed=pl.col("run"))
            notes.append(f"{used['run']!r} has the same values at several batch sizes: it is taken as the seed.")
            identity = [*identity, "seed"]
    parts = [pl.format(f"{key}={{}}", pl.col(key).cast(pl.String).fill_null("?")) for key in identity]
    return table.with_columns(run=pl.concat_str(parts, separator=" ")), notes
