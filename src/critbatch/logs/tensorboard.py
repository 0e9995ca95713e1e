"""TensorBoard event files: scalars, and the hyperparameters of its plugin. Read without the package `tensorboard`."""

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..log import TrackedRun, wire_fields

PATTERN = "*tfevents*"
LARGEST = 1 << 20  # longer records are images and graphs: they are stepped over
PARTS = frozenset({"train", "training", "validation", "val", "valid", "eval", "test"})  # folders of one run (Keras)
HPARAMS = "_hparams_/session_start_info"
DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}  # tensorflow.DataType
ValuesOfTag = dict[str, tuple[list[float], list[float]]]


def recognizes(path: Path) -> bool:
    """Return whether `path` is an event file, or a folder with one at any depth."""
    return any(path.rglob(PATTERN)) if path.is_dir() else "tfevents" in path.name


def read(path: Path) -> list[TrackedRun]:
    """Return the runs: one for each folder with event files.

    Folders named train, validation and the like are parts of the run above them (Keras), as is the folder with a number
    as its name that `SummaryWriter.add_hparams` makes.

    Raises:
        ValueError: If a file is damaged. A record that is cut off at the end of a file is no damage: the run was killed.
    """
    files = sorted(path.rglob(PATTERN)) if path.is_dir() else [path]
    root = path if path.is_dir() else path.parent
    folders = sorted({file.parent for file in files})
    config: dict[Path, dict[str, Any]] = {}
    series: dict[Path, ValuesOfTag] = {}
    for folder in folders:
        home, prefix = _home(folder, folders, root)
        for file in (file for file in files if file.parent == folder):
            _read_file(file, prefix, config.setdefault(home, {}), series.setdefault(home, {}))
    _join_parts(config, series)
    return [
        TrackedRun(_name(home, root), config[home], series[home]) for home in config if config[home] or series[home]
    ]


def _home(folder: Path, folders: list[Path], root: Path) -> tuple[Path, str]:
    """Return the folder of the run that a folder belongs to, and what its tags are prefixed with."""
    if folder != root and folder.name.casefold() in PARTS:
        return folder.parent, f"{folder.name}/"
    if re.fullmatch(r"\d+\.\d+", folder.name) and folder.parent in folders:
        return folder.parent, ""
    return folder, ""


def _join_parts(config: dict[Path, dict[str, Any]], series: dict[Path, ValuesOfTag]) -> None:
    """Give a run what `SummaryWriter.add_scalars` wrote beside it: tag `loss` of the folder `loss_train` is `loss/train`."""
    for home in sorted(series, reverse=True):
        starts = {tag: tag.replace("/", "_") + "_" for tag in series[home]}
        is_part = starts and not config[home] and all(home.name.startswith(start) for start in starts.values())
        if is_part and home.parent in series:
            for tag, looks in series.pop(home).items():
                series[home.parent][f"{tag}/{home.name.removeprefix(starts[tag])}"] = looks
            del config[home]


def _name(folder: Path, root: Path) -> str:
    return folder.relative_to(root).as_posix() if folder != root else folder.resolve().name


def _read_file(file: Path, prefix: str, config: dict[str, Any], series: ValuesOfTag) -> None:
    try:
        for event in _records(file.read_bytes()):
            step, values = 0, []
            for number, value in wire_fields(event):
                if number == 2:
                    step = value - (1 << 64) if value >= 1 << 63 else value
                elif number == 5:
                    values += [part for field, part in wire_fields(value) if field == 1]
            for value in values:
                _take(value, step, prefix, config, series)
    except ValueError as error:
        raise ValueError(f"Event file {file.name!r} of {str(file.parent)!r} is damaged: {error}") from error


def _records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a TFRecord file: length, its checksum, bytes, their checksum.

    Source: https://www.tensorflow.org/tutorials/load_data/tfrecord

    Raises:
        ValueError: If a checksum does not fit.
    """
    position = 0
    while position + 12 <= len(data):
        size, check = struct.unpack_from("<QI", data, position)
        if masked_crc32c(data[position : position + 8]) != check:
            raise ValueError(f"the length of the record at byte {position} does not fit its checksum.")
        start, end = position + 12, position + 12 + size
        if end + 4 > len(data):
            return
        record = data[start:end] if size <= LARGEST else b""
        if record and masked_crc32c(record) != struct.unpack_from("<I", data, end)[0]:
            raise ValueError(f"the record at byte {position} does not fit its checksum.")
        yield record
        position = end + 4


def _take(message: bytes, step: int, prefix: str, config: dict[str, Any], series: ValuesOfTag) -> None:
    fields = dict(wire_fields(message))  # of a Summary.Value
    tag = fields.get(1, b"").decode()
    if tag == HPARAMS:
        config.update(_hyperparameters(fields[9]))
        return
    number = fields.get(2)
    if number is None and 8 in fields:
        number = _scalar(fields[8])
    if number is not None:
        steps, values = series.setdefault(prefix + tag, ([], []))
        steps.append(float(step))
        values.append(float(number))


def _scalar(message: bytes) -> float | None:
    """Return the number of a TensorProto that holds one, else None."""
    fields = dict(wire_fields(message))
    dtype = DTYPES.get(fields.get(1, 0))
    if dtype is None:
        return None
    shape = [dict(wire_fields(value)).get(1, 0) for number, value in wire_fields(fields.get(2, b"")) if number == 2]
    if any(size != 1 for size in shape):
        return None
    field = {"<f4": 5, "<f8": 6, "<i4": 7, "<i8": 10}[dtype]
    content = fields.get(4)
    if content:
        return float(np.frombuffer(content, dtype)[0])
    value = fields.get(field)
    if isinstance(value, bytes):
        is_varint = dtype.startswith("<i")  # packed varints are read as the field of a message
        value = next(wire_fields(b"\x08" + value))[1] if is_varint else np.frombuffer(value, dtype)[0]
    return None if value is None else float(value)


def _hyperparameters(metadata: bytes) -> dict[str, Any]:
    """Return what SummaryMetadata holds of the hparams plugin: names to numbers, texts and booleans."""
    plugin = dict(wire_fields(dict(wire_fields(metadata))[1]))
    start = dict(wire_fields(plugin[2])).get(3, b"")
    found: dict[str, Any] = {}
    for number, entry in wire_fields(start):
        if number == 1:
            pair = dict(wire_fields(entry))
            found[pair[1].decode()] = _value(pair.get(2, b""))
    return found


def _value(message: bytes) -> Any:
    """Return what a google.protobuf.Value holds, None for null and lists."""
    for number, value in wire_fields(message):
        if number == 2:
            return int(value) if value.is_integer() and abs(value) < 2**53 else value
        if number in {3, 4}:
            return value.decode() if number == 3 else bool(value)
    return None


def _crc_table() -> list[int]:
    table: list[int] = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = _crc_table()


def masked_crc32c(data: bytes) -> int:
    """Return the checksum of TFRecord: CRC-32C (Castagnoli), rotated and shifted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
