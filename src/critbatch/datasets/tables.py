"""Tables of texts: the ARFF and tab-separated formats, and their columns as numbers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Int

NUMERIC = ("real", "integer", "numeric")
ITEM = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^,'"]*))\s*(,|$)""")
ATTRIBUTE = re.compile(r"""@attribute\s+(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s{]+))\s*(.+)""", re.IGNORECASE)


@final
@dataclass(frozen=True)
class Column:
    """A column's name, its cells (None is missing) and the values it may take (None: numbers)."""

    name: str
    cells: tuple[str | None, ...]
    values: tuple[str, ...] | None


def read_arff(text: str) -> list[Column]:
    """Return the columns of an ARFF file: dense rows of numeric and nominal attributes.

    Source: the Attribute-Relation File Format of Weka; sparse rows, strings and dates are not read.

    Args:
        text: The file's content.

    Raises:
        ValueError: If a line does not fit the format or its header. The message has the line's number.
    """
    header: list[tuple[str, tuple[str, ...] | None]] = []
    rows: list[list[str | None]] = []
    in_data = False
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("%"):
            continue
        try:
            if in_data:
                rows.append(_row(line, header))
            elif line.lower().startswith("@attribute"):
                header.append(_attribute(line))
            in_data = in_data or line.lower().startswith("@data")
        except ValueError as error:
            raise ValueError(f"ARFF line {number}: {error}") from error
    if not header or not rows:
        raise ValueError(f"ARFF: {len(header)} attributes and {len(rows)} rows were found. Give a file with both.")
    cells = zip(*rows, strict=True)
    return [Column(name, column, values) for (name, values), column in zip(header, cells, strict=True)]


def read_tsv(text: str) -> list[Column]:
    """Return the columns of a tab-separated file with a line of names; all are numeric but `target`, the class.

    Args:
        text: The file's content.

    Raises:
        ValueError: If a line has another number of cells than the first.
    """
    names, *rows = (line.split("\t") for line in text.splitlines() if line.strip())
    for number, row in enumerate(rows, 2):
        if len(row) != len(names):
            raise ValueError(f"TSV line {number}: {len(row)} cells for {len(names)} columns.")
    columns: list[Column] = []
    for name, texts in zip(names, zip(*rows, strict=True), strict=True):
        cells = tuple(None if cell in ("", "?", "nan") else cell for cell in texts)
        seen = {cell for cell in cells if cell is not None}
        columns.append(Column(name, cells, tuple(sorted(seen, key=float)) if name == "target" else None))
    return columns


def one_hot(column: Column) -> Float[np.ndarray, "example value"]:
    """Return one 0/1 column for each value of a nominal column, and one more for missing where a cell is missing."""
    values: list[str | None] = [*(column.values or ())]
    if None in column.cells:
        values.append(None)
    position = {value: index for index, value in enumerate(values)}
    return np.eye(len(values))[[position[cell] for cell in column.cells]]


def numbers(column: Column) -> Float[np.ndarray, " example"]:
    """Return a numeric column; missing cells are NaN.

    Raises:
        ValueError: If a cell is not a number.
    """
    try:
        return np.array([np.nan if cell is None else float(cell) for cell in column.cells])
    except ValueError as error:
        raise ValueError(f"Column {column.name!r} is numeric: {error}.") from error


def classes(column: Column) -> tuple[Int[np.ndarray, " example"], list[str]]:
    """Return the class number of each example (-1 where it is missing), and the classes that occur, in header order.

    Raises:
        ValueError: If the column is numeric.
    """
    if column.values is None:
        raise ValueError(f"Column {column.name!r} is numeric: it cannot be the class. Name another column.")
    names = [value for value in column.values if value in set(column.cells)]
    position: dict[str | None, int] = {None: -1, **{name: index for index, name in enumerate(names)}}
    return np.array([position[cell] for cell in column.cells]), names


def _row(line: str, header: Sequence[tuple[str, tuple[str, ...] | None]]) -> list[str | None]:
    if line.startswith("{"):
        raise ValueError("sparse rows are not read. Write the row with all its values.")
    cells = _items(line)
    if len(cells) != len(header):
        raise ValueError(f"{len(cells)} values for {len(header)} attributes.")
    for cell, (name, values) in zip(cells, header, strict=True):
        if cell is not None and values is not None and cell not in values:
            raise ValueError(f"{cell!r} is not a value of attribute {name!r}: {', '.join(values)}.")
    return cells


def _attribute(line: str) -> tuple[str, tuple[str, ...] | None]:
    match = ATTRIBUTE.fullmatch(line)
    if not match:
        raise ValueError(f"no attribute can be read from {line!r}.")
    single, double, bare = match.groups()[:3]
    quoted = single if single is not None else double
    name = _unescaped(quoted) if quoted is not None else bare
    kind = match[4].strip()
    if kind.startswith("{") and kind.endswith("}"):
        return name, tuple("?" if item is None else item for item in _items(kind[1:-1]))
    if kind.split()[0].split("[")[0].lower() not in NUMERIC:
        raise ValueError(f"attribute {name!r} is of type {kind!r}; real, integer, numeric and {{...}} are read.")
    return name, None


def _items(line: str) -> list[str | None]:
    if "'" not in line and '"' not in line:
        return [None if item == "?" else item for item in (part.strip() for part in line.split(","))]
    items: list[str | None] = []
    position = 0
    while True:
        match = ITEM.match(line, position)
        if not match:
            raise ValueError(f"quotes do not match in {line[position:]!r}.")
        single, double, bare, end = match.groups()
        quoted = single if single is not None else double
        bare = (bare or "").strip()
        items.append(_unescaped(quoted) if quoted is not None else None if bare == "?" else bare)
        if not end:
            return items
        position = match.end()


def _unescaped(quoted: str) -> str:
    return re.sub(r"\\(.)", r"\1", quoted)
