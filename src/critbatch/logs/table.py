"""Tables: CSV and its relatives, JSON, JSON Lines and Parquet, as spreadsheets and scripts write them."""

import codecs
import csv
import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl

from ..log import Sheet

DELIMITERS = (",", ";", "\t", "|")
SNIFFED = 100  # lines that decide on the delimiter
MAGIC = {
    b"PK\x03\x04": "a spreadsheet or archive. Save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "a spreadsheet of the old format. Save the sheet as CSV",
    b"\x1f\x8b": "compressed. Unpack it",
    b"%PDF": "a PDF. Copy its table into a CSV file",
}
COMMA = r"^[+-]?(?:0|\d+),\d+$|^[+-]?\d{1,3}(?:\.\d{3})+,\d+$|^[+-]?\d+,\d+[eE][+-]?\d+$"
POINT = r"^[+-]?\d*\.\d+$|^[+-]?\d{1,3}(?:,\d{3})+\.\d+$|^[+-]?\d*\.\d+[eE][+-]?\d+$"
EITHER = r"^[+-]?[1-9]\d{0,2}(?:[.,]\d{3})$"  # 1,500 and 1.500
BY_COMMA = r"^[+-]?[1-9]\d{0,2}(?:,\d{3}){2,}$"
BY_POINT = r"^[+-]?[1-9]\d{0,2}(?:\.\d{3}){2,}$"


def recognizes(path: Path) -> bool:
    """Return whether `path` is a file: what it holds is seen when it is read."""
    return path.is_file()


def read(path: Path) -> Sheet:
    """Return the table in a file.

    Raises:
        ValueError: If it holds none. The message says what it holds instead.
    """
    data = path.read_bytes()
    if not data.strip():
        raise ValueError("The file is empty.")
    for magic, what in MAGIC.items():
        if data.startswith(magic):
            raise ValueError(f"The file is {what}.")
    if data.startswith(b"PAR1"):
        return _parquet(data)
    text, notes = _decoded(data)
    stripped = text.lstrip()
    if path.suffix.casefold() in {".json", ".jsonl", ".ndjson"} or stripped.startswith(("{", "[{")):
        return _json(text, notes)
    return _csv(text, notes)


def _decoded(data: bytes) -> tuple[str, list[str]]:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return data.decode(encoding, errors="replace"), []
    control = sum(data.count(bytes([byte])) for byte in (*range(9), *range(14, 27), *range(28, 32)))
    if control:
        raise ValueError("The file is neither text nor Parquet. Give a table as CSV, JSON Lines or Parquet.")
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace"), ["The file is not UTF-8: it was read as Windows-1252."]


def _csv(text: str, notes: list[str]) -> Sheet:
    lines = text.splitlines()
    if re.fullmatch(r"sep=.", lines[0].strip()):
        delimiter, skipped = lines[0].strip()[-1], 1
    else:
        delimiter, skipped = _delimiter([line for line in lines if line.strip()][:SNIFFED]), 0
    rows = _rows("\n" * skipped + "\n".join(lines[skipped:]), delimiter)
    width = max((len(_trimmed(row)) for _, row in rows[:SNIFFED]), default=0)
    start = next((i for i, (_, row) in enumerate(rows) if _filled(row) >= min(2, width)), len(rows))
    for line, row in rows[:start]:
        notes.append(f"Line {line} is no row of the table and was skipped: {' '.join(row).strip()[:60]!r}.")
    if start == len(rows):
        raise ValueError("There is no table in the file.")
    (line, header), body = rows[start], rows[start + 1 :]
    names = _names(header, body, line)
    cells = {name: [row[index].strip() if index < len(row) else "" for _, row in body] for index, name in names.items()}
    table = {name: pl.Series([cell or None for cell in column], dtype=pl.String) for name, column in cells.items()}
    places = pl.Series([f"line {line}" for line, _ in body], dtype=pl.String)
    frame = pl.DataFrame(table)
    return Sheet(frame, places, _decimal(frame, "." if delimiter == "," else None), tuple(notes))


def _delimiter(lines: list[str]) -> str:
    """Return the delimiter that gives most lines one and the same number of cells, at least two; else white space."""
    best = (0.0, 0, "")
    for delimiter in DELIMITERS:
        counts = Counter(len(row) for row in csv.reader(lines, delimiter=delimiter))
        counts.pop(1, None)
        if counts:
            width, often = max(counts.items(), key=lambda item: (item[1], item[0]))
            best = max(best, (often / len(lines), width, delimiter), key=lambda found: found[:2])
    if best[0] >= 0.5 or (best[0] and len(lines) < 4):
        return best[2]
    widths = Counter(len(re.split(r"\s+", line.strip())) for line in lines if not line.startswith("#"))
    width, often = widths.most_common(1)[0]
    return " " if width > 1 and often >= 0.8 * len(lines) and len(lines) > 1 else ","


def _rows(text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Return the rows that hold anything and are no comment, with the numbers of their last lines.

    Raises:
        ValueError: If quotes or cells are broken.
    """
    if delimiter == " ":
        text = "\n".join(re.sub(r"\s+", " ", line.strip()) for line in text.splitlines())
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[tuple[int, list[str]]] = []
    try:
        rows.extend((reader.line_num, row) for row in reader if _filled(row) and not row[0].lstrip().startswith("# "))
    except csv.Error as error:
        raise ValueError(f"Line {reader.line_num} cannot be read as a row of a table: {error}.") from error
    return rows


def _trimmed(row: list[str]) -> list[str]:
    width = max((index + 1 for index, cell in enumerate(row) if cell.strip()), default=0)
    return row[:width]


def _filled(row: list[str]) -> int:
    return sum(bool(cell.strip()) for cell in row)


def _names(header: list[str], body: list[tuple[int, list[str]]], line: int) -> dict[int, str]:
    """Return the names of the columns by position; what lies under no name is named after its position.

    Raises:
        ValueError: If there are no names, a name stands twice, or a row has more cells.
    """
    header = [re.sub(r"\s+", " ", cell).strip() for cell in _trimmed(header)]
    if sum(bool(re.fullmatch(r"[+-]?[\d.,]+(?:[eE][+-]?\d+)?", cell)) for cell in header) > len(header) / 2:
        raise ValueError(
            f"Line {line} should hold the names of the columns, but has {', '.join(header)}. Add a line of names."
        )
    named: dict[int, str] = {}
    for index, cell in enumerate(header):
        if cell and cell in named.values():
            raise ValueError(f"Two columns are called {cell!r} (line {line}). Rename one.")
        named[index] = cell or f"column {index + 1}"
    for place, row in body:
        if len(row) > len(header) and len(_trimmed(row)) > len(header):
            raise ValueError(
                f"Line {place} has {len(_trimmed(row))} cells under {len(header)} names. Put cells with the delimiter in "
                "them into quotes, or name every column."
            )
    return {
        index: name
        for index, name in named.items()
        if header[index] or any(_filled(row[index : index + 1]) for _, row in body)
    }


def _decimal(frame: pl.DataFrame, default: str | None) -> str | None:
    """Return the decimal mark that most cells show; `default` where some could be read both ways and none tells."""
    texts = (
        pl.concat([frame[name] for name in frame.columns]).drop_nulls()
        if frame.width
        else pl.Series([], dtype=pl.String)
    )
    either = texts.str.contains(EITHER)
    comma = len(texts.filter((texts.str.contains(COMMA) & ~either) | texts.str.contains(BY_POINT)))
    point = len(texts.filter((texts.str.contains(POINT) & ~either) | texts.str.contains(BY_COMMA)))
    if comma or point:
        return "," if comma > point else "."
    return default if either.any() else "."


def _json(text: str, notes: list[str]) -> Sheet:
    try:
        objects, word = _objects(json.loads(text)), "row"
    except json.JSONDecodeError as whole:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        try:
            parsed = [json.loads(line) for _, line in lines]
        except json.JSONDecodeError as error:
            number = lines[len([0 for _, line in lines if _parses(line)])][0] if len(lines) > 1 else whole.lineno
            raise ValueError(f"Line {number} is no JSON: {error.msg}.") from error
        objects, word = parsed, "line"
        numbers = [number for number, _ in lines]
    else:
        numbers = list(range(1, len(objects) + 1))
    bad = [number for number, value in zip(numbers, objects, strict=True) if not isinstance(value, dict)]
    if bad or not objects:
        raise ValueError(
            f"{word.capitalize()} {bad[0] if bad else 1} is no object. Give one JSON object a run: {{...}}."
        )
    rows = [_flat(value) for value in objects]
    names = list(dict.fromkeys(name for row in rows for name in row))
    frame = pl.DataFrame({name: _column([row.get(name) for row in rows]) for name in names})
    places = pl.Series([f"{word} {number}" for number in numbers], dtype=pl.String)
    return Sheet(frame, places, _decimal(frame.select(pl.col(pl.String)), "."), tuple(notes))


def _parses(line: str) -> bool:
    try:
        json.loads(line)
    except json.JSONDecodeError:
        return False
    return True


def _objects(value: Any) -> list[Any]:
    """Return one object a row; a single object of lists of one length is read as columns."""
    if isinstance(value, dict):
        lists = [part for part in value.values() if isinstance(part, list)]
        if lists and len(lists) == len(value) and len({len(part) for part in lists}) == 1:
            return [dict(zip(value, row, strict=True)) for row in zip(*lists, strict=True)]
        return [value]
    return value if isinstance(value, list) else [value]


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, part in value.items():
        flat |= _flat(part, f"{prefix}{key}.") if isinstance(part, dict) else {f"{prefix}{key}": part}
    return flat


def _column(values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float}:
        return pl.Series([None if value is None else float(value) for value in values], dtype=pl.Float64)
    if kinds == {bool}:
        return pl.Series(values, dtype=pl.Boolean)
    cells = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pl.Series(cells, dtype=pl.String)


def _parquet(data: bytes) -> Sheet:
    try:
        frame = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"The file begins like Parquet but cannot be read: {str(error).splitlines()[0]}.") from error
    texts = [name for name, dtype in frame.schema.items() if dtype in {pl.Categorical, pl.Enum}]
    decimals = [name for name, dtype in frame.schema.items() if dtype.is_decimal()]
    frame = frame.with_columns(pl.col(texts).cast(pl.String), pl.col(decimals).cast(pl.Float64))
    places = pl.Series([f"row {number}" for number in range(1, len(frame) + 1)], dtype=pl.String)
    return Sheet(frame, places, _decimal(frame.select(pl.col(pl.String)), "."))
