"""Runs of Weights & Biases as they lie on disk (`run-*.wandb`). Read without the package `wandb`."""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..log import TrackedRun, wire_fields

BLOCK = 32768
HEADER = b":W&B\xe1\xbe\x00"  # mark, magic number, version
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4  # which part of a record a chunk is
# Numbers of fields in wandb_internal.proto.
HISTORY, SUMMARY, CONFIG, RUN = 2, 3, 5, 17
KEY, NESTED_KEY, JSON, VALUE_JSON = 1, 2, 8, 16


def recognizes(path: Path) -> bool:
    """Return whether `path` is a run's file, or a folder with one at any depth."""
    return any(path.rglob("run-*.wandb")) if path.is_dir() else path.suffix == ".wandb"


def read(path: Path) -> list[TrackedRun]:
    """Return the runs, offline or not, that lie at `path`; links (`latest-run`) are not followed twice.

    Raises:
        ValueError: If a file is damaged. A record that is cut off at the end of a file is no damage: the run was killed.
    """
    files = sorted(path.rglob("run-*.wandb")) if path.is_dir() else [path]
    return [_run(file) for file in dict.fromkeys(file.resolve() for file in files)]


def _run(file: Path) -> TrackedRun:
    name, config = file.stem.removeprefix("run-"), {}
    series: dict[str, tuple[list[float], list[float]]] = {}
    summary: dict[str, Any] = {}
    last = 0.0
    try:
        for record in _records(file.read_bytes()):
            for number, message in wire_fields(record):
                if number == RUN:
                    title, set_first = _about(message)
                    name = f"{title} ({name})" if title else name
                    config.update(set_first)
                elif number == CONFIG:
                    config.update(_items(message))
                elif number == SUMMARY:
                    summary.update(_items(message))
                elif number == HISTORY:
                    last = _look(message, last, series)
    except (ValueError, TypeError) as error:
        raise ValueError(f"W&B file {file.name!r} is damaged or of another version: {error}") from error
    for key, value in summary.items():  # what was written to the summary alone
        if key not in series and not key.startswith("_") and _is_number(value):
            series[key] = [last], [float(value)]
    config = {key: value for key, value in config.items() if not key.startswith("_wandb")}
    return TrackedRun(name, config, series)


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a log in blocks: checksum, length, part, bytes; a record may go over several blocks.

    Source: https://github.com/google/leveldb/blob/main/doc/log_format.md; W&B's own are the header and the checksum,
    which is a plain CRC-32 of part and bytes.

    Raises:
        ValueError: If it is no such file, or a checksum does not fit.
    """
    if not data.startswith(HEADER):
        raise ValueError("it does not begin as such a file does.")
    position, pieces = len(HEADER), []
    while position + 7 <= len(data):
        room = BLOCK - position % BLOCK
        if room < 7:
            position += room
            continue
        check, size, part = struct.unpack_from("<IHB", data, position)
        if part == 0 and size == 0:  # the rest of the block was filled with zeros
            position += room
            continue
        chunk = data[position + 7 : position + 7 + size]
        if len(chunk) < size:
            return
        if zlib.crc32(chunk, zlib.crc32(bytes([part]))) != check:
            raise ValueError(f"the record at byte {position} does not fit its checksum.")
        position += 7 + size
        pieces = [chunk] if part in {WHOLE, FIRST} else [*pieces, chunk]
        if part in {WHOLE, LAST}:
            yield b"".join(pieces)


def _about(message: bytes) -> tuple[str, dict[str, Any]]:
    title, config = "", {}
    for number, value in wire_fields(message):
        if number == 8:
            title = value.decode()
        elif number == 4:
            config.update(_items(value))
    return title, config


def _items(message: bytes) -> dict[str, Any]:
    """Return the items of a config, a summary or a look: names joined by dots to values."""
    found: dict[str, Any] = {}
    for number, item in wire_fields(message):
        if number != 1:
            continue
        names: list[str] = []
        value: Any = None
        for field, part in wire_fields(item):
            if field in {KEY, NESTED_KEY}:
                names += [part.decode()] if part else []
            elif field in {JSON, VALUE_JSON}:
                value = json.loads(part)
            elif field in {4, 5, 6}:  # boolean, integer, number
                value = bool(part) if field == 4 else part
        _flatten(".".join(names), value, found)
    return found


def _flatten(name: str, value: Any, found: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for key, part in value.items():
            _flatten(f"{name}.{key}", part, found)
    else:
        found[name] = value


def _look(message: bytes, last: float, series: dict[str, tuple[list[float], list[float]]]) -> float:
    values = _items(message)
    step = next((dict(wire_fields(part)).get(1, 0) for number, part in wire_fields(message) if number == 2), None)
    step = float(values.get("_step", last if step is None else step))
    for key, value in values.items():
        number = float(value) if value in {"NaN", "Infinity", "-Infinity"} else value
        if _is_number(number) and key != "_step":
            steps, numbers = series.setdefault(key, ([], []))
            steps.append(step)
            numbers.append(float(number))
    return max(last, step)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
