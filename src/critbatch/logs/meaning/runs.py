"""One row a run: who reached the target, when, and who did not."""

import re
from collections.abc import Mapping
from typing import NamedTuple

import polars as pl

from ...log import RUNS, Log, Mark, Sheet
from . import cells, roles, units, wide

REACHED = frozenset(
    {"reached", "reached target", "target", "target reached", "converged", "success", "succeeded", "hit"}
)
STOPPED = frozenset({"budget", "max steps", "maximum steps", "out of steps", "stopped", "running"})
SILENT = frozenset({"finished", "completed", "complete", "ok", "done"})


class _Row(NamedTuple):
    mark: Mark
    value: float | None
    bound: float | None
    reached: bool | None
    diverged: bool


def read_runs(sheet: Sheet, columns: Mapping[str, str], train_size: int | None) -> Log:
    """Return a table of one row a run, or of one row a batch size and one column a seed, as runs.

    Raises:
        ValueError: If a column is missing, a cell has no meaning, or two rows are the same run.
    """
    names, notes, taken = sheet.frame.columns, [], dict(columns)
    is_wide = not _quantity(sheet.frame, columns) and bool(wide.seed_columns(sheet.frame, columns))
    if is_wide:
        sheet, found, notes = wide.lengthen(sheet, columns)
        taken, names = {**columns, **found}, []
    frame = sheet.frame
    quantity = _quantity(frame, taken)
    if quantity is None:
        raise ValueError(
            "There is no column of steps, examples or epochs to target. Name it with --column steps=NAME, "
            f"examples=NAME or epochs=NAME. The columns with cells are: {roles.filled(frame)}."
        )
    role, name = quantity
    used = {"batch_size": roles.require(frame, "batch_size", taken), role: name}
    for other in ("learning_rate", "seed", "reached", "censored", "status", "diverged"):
        used |= roles.taken({other: roles.find(frame, other, taken)})
    used |= {} if "seed" in used else roles.taken({"seed": roles.find(frame, "run", taken)})
    sizes = cells.batch_sizes(sheet, used["batch_size"])
    rates = cells.learning_rates(sheet, used.get("learning_rate"))
    seeds = cells.texts(sheet, used.get("seed"))
    factor, unit_notes = roles.unit_factor(role, name)
    per_unit, conversion = units.steps_per_unit(role, sizes, train_size)
    bound_name, bounds, bound_notes = _bounds(sheet, taken, sizes, train_size)
    used |= bound_name
    values, marks = cells.quantities(sheet, name)
    steps = [None if value is None else value * factor * per for value, per in zip(values, per_unit, strict=True)]
    if role not in taken:
        _check_examples(sheet, used, sizes, steps)
    rows = _rows(sheet, used, steps, marks, bounds)
    ends, end_notes = _ends(sheet, name, rows)
    table = pl.DataFrame(
        [sizes, rates, seeds, *(pl.Series(list(part)) for part in zip(*ends, strict=True))], schema=RUNS, strict=False
    )
    _refuse_duplicates(sheet, table, used)
    notes += [
        *sheet.notes,
        *roles.batch_size_notes(used["batch_size"]),
        *unit_notes,
        *conversion,
        *bound_notes,
        *end_notes,
    ]
    notes += [*_remarks(table, used), *roles.unused(names, used)]
    if is_wide:
        used = {**used, role: f"{name} (one column a seed)"}
    return Log(runs=table, columns=used, notes=tuple(notes))


def _quantity(frame: pl.DataFrame, columns: Mapping[str, str]) -> tuple[str, str] | None:
    for role in units.QUANTITIES:
        if role in columns:
            return role, columns[role]
    for role in units.QUANTITIES:
        if name := roles.find(frame, role, columns):
            return role, name
    name = roles.find(frame, "step", columns)
    return ("steps", name) if name else None


def _bounds(
    sheet: Sheet, columns: Mapping[str, str], sizes: pl.Series, train_size: int | None
) -> tuple[dict[str, str], list[float | None], list[str]]:
    for role in units.QUANTITIES:
        name = roles.find(sheet.frame, f"max_{role}", columns)
        if name is None:
            continue
        values, marks = cells.quantities(sheet, name)
        bad = [row for row, mark in enumerate(marks) if mark not in {Mark.NUMBER, Mark.BLANK}]
        if bad:
            cells.refuse(sheet, bad, name, "no number of a last step", advice="Write plain numbers.")
        factor, unit_notes = roles.unit_factor(role, name)
        per_unit, notes = units.steps_per_unit(role, sizes, train_size)
        bounds = [None if value is None else value * factor * per for value, per in zip(values, per_unit, strict=True)]
        return {f"max_{role}": name}, bounds, [*unit_notes, *notes]
    return {}, [None] * len(sizes), []


def _check_examples(sheet: Sheet, used: dict[str, str], sizes: pl.Series, steps: list[float | None]) -> None:
    """Refuse a table whose steps and examples contradict each other: one of them has another meaning."""
    name = None if "steps" not in used else roles.find(sheet.frame, "examples", {})
    if name is None:
        return
    examples, marks = cells.quantities(sheet, name)
    factor = roles.unit_factor("examples", name)[0]
    bad: list[int] = []
    for row, (size, step, count) in enumerate(zip(sizes, steps, examples, strict=True)):
        if (
            step
            and count
            and marks[row] is Mark.NUMBER
            and abs(count * factor - step * size) > 0.01 * step * size + size
        ):
            bad.append(row)
    if bad:
        problem = f"not the steps ({used['steps']!r}) times the batch size ({used['batch_size']!r})"
        advice = "Say which one counts: --column steps=NAME or --column examples=NAME."
        cells.refuse(sheet, bad, name, problem, advice=advice)


def _rows(
    sheet: Sheet, used: dict[str, str], steps: list[float | None], marks: list[Mark], bounds: list[float | None]
) -> list[_Row]:
    reached = cells.flags(sheet, used.get("reached"))
    censored = cells.flags(sheet, used.get("censored"))
    diverged = cells.flags(sheet, used.get("diverged"))
    rows: list[_Row] = []
    for row, word in enumerate(cells.texts(sheet, used.get("status"))):
        said, exploded = _status(sheet, used, row, word)
        claims = {said, reached[row], None if censored[row] is None else not censored[row]} - {None}
        gone = exploded or bool(diverged[row]) or marks[row] is Mark.DIVERGED
        if len(claims) > 1 or (gone and True in claims) or (True in claims and marks[row] is not Mark.NUMBER):
            about = next(used[role] for role in ("reached", "censored", "status", "diverged") if role in used)
            problem = "the row says both that the run reached the target and that it did not, or gives no number"
            cells.refuse(sheet, [row], about, problem, advice="Correct the row.")
        rows.append(_Row(marks[row], steps[row], bounds[row], claims.pop() if claims else None, gone))
    return rows


def _status(sheet: Sheet, used: dict[str, str], row: int, word: str | None) -> tuple[bool | None, bool]:
    plain = "" if word is None else re.sub(r"[\s_-]+", " ", word.casefold()).strip()
    if plain in cells.DIVERGED:
        return False, True
    if plain in REACHED | cells.TRUE:
        return True, False
    if plain in STOPPED | cells.FALSE or (plain and cells.NEVER_WORDS.match(plain)):
        return False, False
    if plain and plain not in SILENT:
        reads = "'reached', 'not reached' and 'diverged' are read. Write one of them or delete the row"
        cells.refuse(sheet, [row], used["status"], "an ending that tells nothing of the target", advice=f"{reads}.")
    return None, False


def _ends(sheet: Sheet, name: str, rows: list[_Row]) -> tuple[list[tuple[float | None, bool, bool]], list[str]]:
    ends: list[tuple[float | None, bool, bool]] = []
    unknown: list[int] = []
    at_bound: list[int] = []
    beyond = [index for index, row in enumerate(rows) if row.value and row.bound and row.value > row.bound * (1 + 1e-9)]
    if beyond:
        problem = "more than the most steps that the run could take"
        cells.refuse(sheet, beyond, name, problem, advice="Correct the number or the maximum.")
    for index, row in enumerate(rows):
        is_at_bound = row.reached is None and row.mark is Mark.NUMBER and row.value == row.bound
        reached = row.mark is Mark.NUMBER and row.reached is not False and not row.diverged and not is_at_bound
        last = row.value if row.value is not None else row.bound
        if last is None and not row.diverged:
            unknown.append(index)
        if not reached and not row.diverged and (is_at_bound or row.mark in {Mark.BLANK, Mark.NEVER}):
            at_bound.append(index)
        ends.append((last, reached, row.diverged))
    if unknown:
        problem = "the run did not reach the target, or was not made, and its last step is not known"
        advice = "Write the last step as '>5000', add a column max_steps, or delete rows of runs that were not made."
        cells.refuse(sheet, unknown, name, problem, advice=advice)
    notes: list[str] = []
    if at_bound:
        where = cells.where(sheet.places[index] for index in at_bound)
        notes.append(f"Not reached, by the maximum of steps: {where}.")
    return ends, notes


def _refuse_duplicates(sheet: Sheet, table: pl.DataFrame, used: dict[str, str]) -> None:
    keys = ["batch_size", "learning_rate", "seed"]
    repeated = (table.select(keys).is_duplicated() & table["seed"].is_not_null()).arg_true().to_list()
    if not repeated:
        return
    first = table.row(repeated[0], named=True)
    same = [row for row in repeated if all(table[key][row] == first[key] for key in keys)]
    others = [name for name in sheet.frame.columns if name not in used.values()]
    apart = [name for name in others if sheet.frame[same][name].n_unique() > 1]
    known = [f"{key.replace('_', ' ')} {first[key]}" for key in keys if first[key] is not None]
    differ = f" They differ in {roles.listed(apart)}: keep the rows of one." if apart else ""
    raise ValueError(
        f"{cells.where(sheet.places[row] for row in same).capitalize()} are the same run: {', '.join(known)}.{differ} "
        "Delete one, correct the seeds, or name the column that tells them apart: --column seed=NAME."
    )


def _remarks(table: pl.DataFrame, used: dict[str, str]) -> list[str]:
    notes: list[str] = []
    if table["seed"].null_count() == len(table):
        notes.append("No seeds: rows of one batch size and learning rate are repeats.")
    elif table["seed"].null_count():
        notes.append(f"{table['seed'].null_count()} runs have no seed: each is a repeat of its own.")
    if "learning_rate" not in used:
        notes.append("No learning rates: all runs of one batch size are taken together.")
    if table["batch_size"].n_unique() == 1:
        notes.append(f"All runs have batch size {table['batch_size'][0]}: there is nothing to compare it with.")
    says_ends = set(used) & {"reached", "censored", "status", "max_steps", "max_examples", "max_epochs"}
    most = table["steps"].max()
    stuck = table.filter((pl.col("steps") == most) & pl.col("reached"))
    if not says_ends and table["reached"].all() and len(stuck) > 1 and len(stuck) < len(table):
        notes.append(
            f"{len(stuck)} runs took exactly {most:g} steps, the most of all: if they did not reach the target, write "
            f"'>{most:g}' or add a column named reached."
        )
    return notes
