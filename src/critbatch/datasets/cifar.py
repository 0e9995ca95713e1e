"""CIFAR-10 from its binary records: one label byte and 3,072 pixel bytes for each image."""

import functools
import lzma
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ..data import Examples
from ..randomness import generator, one_thread
from .location import locate
from .splits import Splits, stratified

RECORD = 1 + 3 * 32 * 32
LARGEST_TRAIN = 10_000
LARGEST_VALIDATION = 2_000
LARGEST_TEST = 1_000


def read_records(path: Path, count: int) -> UInt8[np.ndarray, "record byte"]:
    """Return the first `count` records of a CIFAR-10 binary file, xz-compressed or not.

    The version for Python is not read, on purpose: it is a pickle, and unpickling a file runs whatever it holds. The
    binary version has the same images in the same order and cannot hold anything else.

    Args:
        path: The file; read as xz where it ends in .xz.
        count: Records wanted.

    Returns:
        One row for each record: the label, then 1,024 red, 1,024 green and 1,024 blue values, row by row.

    Raises:
        ValueError: If the file is damaged or holds fewer records.
    """
    try:
        with lzma.open(path) if path.suffix == ".xz" else path.open("rb") as file:
            content = file.read(count * RECORD)
    except (lzma.LZMAError, EOFError) as error:
        raise ValueError(f"{path} is not a whole xz file: {error}. Copy it again.") from error
    if len(content) < count * RECORD:
        raise ValueError(f"{path} holds {len(content) / RECORD:g} records, {count} are needed. Copy it again.")
    records = np.frombuffer(content, dtype=np.uint8).reshape(count, RECORD)
    if records[:, 0].max() > 9:
        raise ValueError(f"{path} has a label {records[:, 0].max()}, above 9. Give the binary version of CIFAR-10.")
    return records


def cifar10(*, train: int = 8192, validation: int = 2000, test: int = 1000) -> Splits:
    """Return colour photographs of ten kinds of things, (3, 32, 32), standardised by the training mean of each channel.

    Train is a fixed stratified sample of the 10,000 images of data_batch_1, validation comes from the first 2,000 of
    data_batch_2, test from the first 1,000 of test_batch.

    Source: Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images.

    Args:
        train: Training images, up to 10,000.
        validation: Validation images, up to 2,000.
        test: Test images, up to 1,000.

    Returns:
        The three sets.

    Raises:
        FileNotFoundError: If the files are not there; where the pickled version is, what to get instead.
    """
    binary = "cifar-10-batches-bin"
    try:
        paths = (
            locate("cifar10/data_batch_1.bin.xz", f"{binary}/data_batch_1.bin"),
            locate("cifar10/data_batch_2.first2000.bin.xz", f"{binary}/data_batch_2.bin"),
            locate("cifar10/test_batch.first1000.bin.xz", f"{binary}/test_batch.bin"),
        )
    except FileNotFoundError as error:
        if not _pickled_is_there():
            raise
        raise FileNotFoundError(
            f"{error} The folder cifar-10-batches-py that is there is a pickle, which could run any code: it is not "
            "read. Unpack cifar-10-binary.tar.gz (same images, same publisher) beside it."
        ) from error
    return _load(paths, (train, validation, test))


def _pickled_is_there() -> bool:
    try:
        return locate("cifar-10-batches-py").is_dir()
    except FileNotFoundError:
        return False


@functools.lru_cache(maxsize=4)
def _load(paths: tuple[Path, Path, Path], sizes: tuple[int, int, int]) -> Splits:
    largest = (LARGEST_TRAIN, LARGEST_VALIDATION, LARGEST_TEST)
    parts: list[tuple[Tensor, Tensor]] = []
    for part, (path, size, available) in enumerate(zip(paths, sizes, largest, strict=True)):
        records = torch.from_numpy(read_records(path, available).copy())
        labels = records[:, 0].long()
        (chosen,) = stratified(labels, [size], generator(0, "split", part))
        parts.append((records[chosen, 1:].reshape(-1, 3, 32, 32).to(torch.float32) / 255, labels[chosen]))
    pixels = parts[0][0]
    with one_thread():
        mean, spread = pixels.mean((0, 2, 3), keepdim=True), pixels.std((0, 2, 3), keepdim=True)
    return Splits(*(Examples((images - mean) / spread, labels) for images, labels in parts))
