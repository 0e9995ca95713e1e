"""Cells to numbers, texts and marks. What cannot be read is refused with its rows and cells."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import NoReturn

import polars as pl

from ...log import Mark, Sheet
from .roles import refuse_multiplier

SHOWN = 6
GROUPED = re.compile(r"[+-]?\d{1,3}(?P<mark>[ '’_\u00a0\u2009\u202f])\d{3}(?:(?P=mark)\d{3})*(?:[.,]\d+)?")
BY_COMMA = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?")
BY_POINT = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+(?:,\d+)?")
SUFFIXED = re.compile(r"(?P<number>.*\d)\s*(?P<suffix>[kKM])")
FACTORS = {"k": 1e3, "K": 1e3, "M": 1e6}
BEYOND = re.compile(r"(?:>=?|≥|⩾)\s*(?P<after>.+)|(?P<before>.+?)\s*\+")
NEVER_WORDS = re.compile(
    r"(?:did|does|has|was)?\s*(?:not|n't|never)\s+(?:reach\w*|converge\w*|hit)(?:\s+(?:the\s+)?target)?"
    r"|didn'?t\s+(?:reach|converge)|censored|timed?\s*-?out|unreached|max(?:imum)?(?:\s+steps)?|dnf"
)
NEVER = frozenset({"na", "n/a", "n.a.", "#n/a", "nan", "none", "null", "-", "--", "–", "—", "?", ".", "never"})
INFINITE = frozenset({"inf", "+inf", "infinity", "∞"})
DIVERGED = frozenset({"diverged", "diverge", "div", "div.", "exploded", "blew up", "nan loss", "loss nan"})
TRUE = frozenset({"true", "t", "yes", "y", "1", "1.0", "✓", "x"})
FALSE = frozenset({"false", "f", "no", "n", "0", "0.0", "✗"})


def where(places: Iterable[str]) -> str:
    """Return places as one text: "lines 3, 4 and 9"; from the seventh on they are counted."""
    found = list(places)
    shown = found[:SHOWN]
    words = {place.partition(" ")[0] for place in shown}
    is_plain = len(words) == 1 and all(place.count(" ") == 1 for place in shown)
    if is_plain and len(found) > 1:
        shown = [place.partition(" ")[2] for place in shown]
    rest = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    text = ", ".join(shown) if rest or len(shown) < 2 else ", ".join(shown[:-1]) + " and " + shown[-1]
    return (f"{words.pop()}s " if is_plain and len(found) > 1 else "") + text + rest


def refuse(sheet: Sheet, rows: Sequence[int], name: str, problem: str, *, advice: str) -> NoReturn:
    """Raise an error that shows where, what stands there, what is wrong with it and what to do.

    Raises:
        ValueError: Always.
    """
    cells = dict.fromkeys(_shown(sheet.frame[name][row]) for row in rows[:SHOWN])
    places = where(sheet.places[row] for row in rows)
    raise ValueError(f"Column {name!r} has {', '.join(cells)} in {places}: {problem}. {advice}")


def _shown(cell: object) -> str:
    return repr(cell.to_list() if isinstance(cell, pl.Series) else cell)


def number(text: str, decimal: str | None) -> float:
    """Return the number that a text is, with separators of thousands and the file's decimal mark.

    Raises:
        ValueError: If it is none, or may be two different ones. The message says why, without the text.
    """
    plain = text.strip().replace("−", "-")
    if match := GROUPED.fullmatch(plain):
        plain = plain.replace(match["mark"], "")
    if decimal is None and (BY_COMMA.fullmatch(plain) or BY_POINT.fullmatch(plain)):
        raise ValueError("a decimal or a separator of thousands? Write it without separators")
    if decimal == ",":
        plain = plain.replace(".", "") if BY_POINT.fullmatch(plain) else plain
        if "." in plain:
            raise ValueError("a decimal point where the file has decimal commas")
        plain = plain.replace(",", ".")
    elif BY_COMMA.fullmatch(plain):
        plain = plain.replace(",", "")
    elif "," in plain:
        raise ValueError("a decimal comma where the file has decimal points")
    if "_" in plain or not plain.isascii():
        raise ValueError("not a number")
    try:
        return float(plain)
    except ValueError:
        raise ValueError("not a number") from None


def numbers(sheet: Sheet, name: str) -> pl.Series:
    """Return a column as floats; blank cells are null, and "nan" and "inf" are numbers here.

    Raises:
        ValueError: If a cell is no number.
    """
    column = sheet.frame[name]
    if column.dtype.is_numeric() or column.dtype == pl.Null:
        return column.cast(pl.Float64)
    rows = range(len(column))
    if column.dtype != pl.String:
        refuse(sheet, [row for row in rows if column[row] is not None], name, "not numbers", advice="Give numbers.")
    texts = _stripped(column)
    if sheet.decimal == ".":
        fast = texts.cast(pl.Float64, strict=False)
        if not (fast.is_null() & texts.is_not_null()).any():
            return fast
    values: dict[str, float] = {}
    for text in texts.drop_nulls().unique(maintain_order=True):
        try:
            values[text] = number(text, sheet.decimal)
        except ValueError as error:
            bad = [row for row in rows if texts[row] == text]
            refuse(sheet, bad, name, str(error), advice="Write plain numbers, or name another column.")
    return pl.Series(name, [None if text is None else values[text] for text in texts], dtype=pl.Float64)


def batch_sizes(sheet: Sheet, name: str) -> pl.Series:
    """Return a column as batch sizes: whole numbers from 1.

    Raises:
        ValueError: If a cell is blank or no such number.
    """
    refuse_multiplier(name)
    values = numbers(sheet, name)
    for bad, problem in (
        (values.is_null(), "every row needs its batch size"),
        (~(values.is_finite() & (values > 0)), "a batch size is above 0"),
        (values != values.round(), "a batch size is a whole number"),
        (values > 2**53, "no batch size is that large"),
    ):
        if bad.any():
            refuse(sheet, _rows(bad), name, problem, advice="Correct it, or choose with --column batch_size=NAME.")
    return values.cast(pl.Int64)


def learning_rates(sheet: Sheet, name: str | None) -> pl.Series:
    """Return a column as learning rates, null where they are not known; without a column all are null.

    Raises:
        ValueError: If a cell is no number above 0.
    """
    if name is None:
        return pl.Series([None] * len(sheet.frame), dtype=pl.Float64)
    refuse_multiplier(name)
    values = numbers(sheet, name)
    bad = ~(values.is_finite() & (values > 0))
    if bad.any():
        advice = "Correct it, or choose with --column learning_rate=NAME."
        refuse(sheet, _rows(bad), name, "a learning rate is above 0", advice=advice)
    return values


def texts(sheet: Sheet, name: str | None) -> pl.Series:
    """Return a column as texts, null where blank; 3.0 becomes "3". Without a column all are null."""
    if name is None:
        return pl.Series([None] * len(sheet.frame), dtype=pl.String)
    column = sheet.frame[name]
    if column.dtype.is_float() and (column.drop_nulls().is_finite().all()):
        whole = column.drop_nulls() == column.drop_nulls().round()
        column = column.cast(pl.Int64) if whole.all() and (column.abs() < 2**53).all() else column
    return _stripped(column.cast(pl.String)).str.replace(r"^([+-]?\d+)\.0+$", "${1}")


def flags(sheet: Sheet, name: str | None) -> list[bool | None]:
    """Return a column as yes or no, None where blank; without a column all are None.

    Raises:
        ValueError: If a cell is neither.
    """
    words = [None if text is None else text.casefold() for text in texts(sheet, name)]
    bad = [row for row, word in enumerate(words) if word is not None and word not in TRUE | FALSE]
    if bad and name is not None:
        refuse(sheet, bad, name, "neither true nor false", advice="Write true or false.")
    return [None if word is None else word in TRUE for word in words]


def quantities(sheet: Sheet, name: str) -> tuple[list[float | None], list[Mark]]:
    """Return what a column of steps, examples or epochs says of each run: a number or None, and a mark.

    Raises:
        ValueError: If a cell says nothing that has a meaning here, is not above 0, or some cells have a unit (5k) alone.
    """
    column = sheet.frame[name]
    if column.dtype != pl.String:
        found = [_of_number(value) for value in numbers(sheet, name)]
    else:
        read = {text: _of_text(text, sheet, name) for text in _stripped(column).drop_nulls().unique()}
        found = [(None, Mark.BLANK) if text is None else read[text] for text in _stripped(column)]
        _refuse_mixed_suffixes(sheet, name)
    bad = [row for row, (value, _) in enumerate(found) if value is not None and not value > 0]
    if bad:
        refuse(sheet, bad, name, "must be above 0", advice="Correct or delete these rows.")
    return [value for value, _ in found], [mark for _, mark in found]


def _of_number(value: float | None) -> tuple[float | None, Mark]:
    if value is None:
        return None, Mark.BLANK
    return (value, Mark.NUMBER) if value == -math.inf or math.isfinite(value) else (None, Mark.NEVER)


def _of_text(text: str, sheet: Sheet, name: str) -> tuple[float | None, Mark]:
    word = text.casefold().strip("()").strip()
    if word in DIVERGED:
        return None, Mark.DIVERGED
    if word in NEVER | INFINITE:
        return None, Mark.NEVER
    if match := NEVER_WORDS.match(word):
        rest = re.sub(r"^\W*(?:at|by|within|after|in|>|=)?\W*|\W*(?:steps)?\W*$", "", word[match.end() :])
        return (None, Mark.NEVER) if not rest else (_number_here(rest, text, sheet, name), Mark.BEYOND)
    if match := BEYOND.fullmatch(text):
        return _number_here(match["after"] or match["before"], text, sheet, name), Mark.BEYOND
    return _of_number(_number_here(text, text, sheet, name))


def _number_here(part: str, text: str, sheet: Sheet, name: str) -> float:
    suffix = SUFFIXED.fullmatch(part.strip())
    try:
        return number(suffix["number"] if suffix else part, sheet.decimal) * (
            FACTORS[suffix["suffix"]] if suffix else 1
        )
    except ValueError as error:
        rows = [row for row, cell in enumerate(_stripped(sheet.frame[name])) if cell == text]
        reads = "Numbers, '>5000', 'NA' (not reached) and 'diverged' are read."
        refuse(sheet, rows, name, str(error), advice=reads)


def _refuse_mixed_suffixes(sheet: Sheet, name: str) -> None:
    column = sheet.frame[name]
    has_digits = column.str.contains(r"\d").fill_null(False)
    suffixed = column.str.contains(r"\d\s*[kKM]\W*$").fill_null(False)
    if suffixed.any() and (has_digits & ~suffixed).any():
        refuse(
            sheet, _rows(suffixed), name, "the other rows have no such unit", advice="Write all rows in one unit."
        )  # fmt: skip


def _stripped(column: pl.Series) -> pl.Series:
    """Return texts without space around them; empty ones are null."""
    plain = column.str.strip_chars(" \t\r\n\u00a0\ufeff")
    return plain.set(plain == "", None)


def _rows(mask: pl.Series) -> list[int]:
    return mask.fill_null(False).arg_true().to_list()
