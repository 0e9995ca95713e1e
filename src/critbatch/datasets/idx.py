"""MNIST and Fashion-MNIST from idx files, as published or in a torchvision folder."""

import functools
import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional

from ..data import Examples
from ..randomness import generator, one_thread
from .location import locate
from .splits import Splits, stratified

UNSIGNED_BYTE = 8  # the type code of the idx format that these sets use


def read_idx(path: Path) -> UInt8[np.ndarray, "..."]:
    """Return the array of unsigned bytes in an idx file, gzipped or not.

    The format: two zero bytes, a type code, the number of axes, the axes as big-endian 32-bit integers, the values.

    Args:
        path: The file; read as gzip where it ends in .gz.

    Returns:
        The values in the file's shape.

    Raises:
        ValueError: If the file is damaged or no idx file of unsigned bytes.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file: {error}. Copy it again.") from error
    if len(content) < 4 or content[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise ValueError(f"{path} is no idx file of unsigned bytes: it starts with {content[:4].hex()}. Copy it again.")
    start = 4 + 4 * content[3]
    shape = tuple(int(length) for length in np.frombuffer(content[4:start], dtype=">u4"))
    if len(content) - start != math.prod(shape):
        raise ValueError(f"{path} holds {len(content) - start} values for shape {shape}. Copy it again.")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def mnist(*, train: int = 8192, validation: int = 2000, test: int = 2000, pool: int = 1) -> Splits:
    """Return handwritten digits of (1, 28, 28) pixels, less the mean of all training pixels, over their deviation.

    Train and validation are disjoint fixed stratified samples of the 60,000 training images; test is one of the 10,000
    test images (not the first: these are known to be easier).

    Source: LeCun, Bottou, Bengio and Haffner (1998), Proceedings of the IEEE 86(11).

    Args:
        train: Training images.
        validation: Validation images.
        test: Test images.
        pool: Side of the square of pixels to average: 2 gives 14 x 14.

    Returns:
        The three sets.
    """
    return _images("mnist", "MNIST", (train, validation, test), pool)


def fashion_mnist(*, train: int = 8192, validation: int = 2000, test: int = 2000, pool: int = 1) -> Splits:
    """Return pictures of ten kinds of clothing in the form of `mnist`.

    Source: Xiao, Rasul and Vollgraf (2017), arXiv:1708.07747. MIT licence.

    Args:
        train: Training images.
        validation: Validation images.
        test: Test images.
        pool: Side of the square of pixels to average: 2 gives 14 x 14.

    Returns:
        The three sets.
    """
    return _images("fashion-mnist", "FashionMNIST", (train, validation, test), pool)


def _images(folder: str, torchvision: str, sizes: tuple[int, int, int], pool: int) -> Splits:
    files = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    raw = f"{torchvision}/raw"
    paths = tuple(locate(f"{folder}/{file}.gz", f"{raw}/{file}.gz", f"{raw}/{file}") for file in files)
    return _load(paths, sizes, pool)


@functools.lru_cache(maxsize=8)
def _load(paths: tuple[Path, ...], sizes: tuple[int, int, int], pool: int) -> Splits:
    images, labels, test_images, test_labels = (torch.from_numpy(read_idx(path).copy()) for path in paths)
    labels, test_labels = labels.long(), test_labels.long()
    train, validation = stratified(labels, sizes[:2], generator(0, "split"))
    (test,) = stratified(test_labels, sizes[2:], generator(0, "split", 1))
    mean, spread = _scale(images[train], pool)
    return Splits(
        Examples((_pooled(images[train], pool) - mean) / spread, labels[train]),
        Examples((_pooled(images[validation], pool) - mean) / spread, labels[validation]),
        Examples((_pooled(test_images[test], pool) - mean) / spread, test_labels[test]),
    )


def _pooled(images: Tensor, pool: int) -> Tensor:
    return functional.avg_pool2d(images[:, None].to(torch.float32) / 255, pool)


def _scale(images: Tensor, pool: int) -> tuple[Tensor, Tensor]:
    pixels = _pooled(images, pool)
    with one_thread():
        return pixels.mean(), pixels.std()
