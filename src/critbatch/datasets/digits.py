"""The digits that scikit-learn carries, read without importing it: that takes longer than everything else at the start."""

import functools
import importlib.util
from pathlib import Path

import numpy as np
import torch

from ..data import Examples
from ..randomness import generator
from .splits import Splits, stratified

SIZES = (1024, 273, 500)
PLACE = Path("datasets", "data", "digits.csv.gz")


@functools.lru_cache
def digits() -> Splits:
    """Return 1,797 handwritten digits of 8 x 8 pixels: 1,024 train, 273 validation, 500 test.

    Pixels are divided by their maximum of 16 and centred by the training mean of each pixel; they are not scaled
    further, because some border pixels are nearly always 0. The training set is a power of 4, so that batch sizes
    1, 4, ..., 1024 run from single examples to the full batch.

    Source: Alpaydin and Kaynak (1998), UCI Optical Recognition of Handwritten Digits (its test part), CC BY 4.0.
    """
    table = torch.from_numpy(_table())
    pixels, labels = table[:, :-1].float(), table[:, -1].long()
    parts = stratified(labels, SIZES, generator(0, "split"))
    centre = (pixels[parts[0]] / 16).mean(0)
    return Splits(*(Examples(pixels[part] / 16 - centre, labels[part]) for part in parts))


def _table() -> np.ndarray:
    """Return 1,797 rows of 64 pixels and the label."""
    package = importlib.util.find_spec("sklearn")
    for folder in (package.submodule_search_locations or []) if package else []:
        path = Path(folder) / PLACE
        if path.is_file():
            return np.loadtxt(path, delimiter=",")
    from sklearn.datasets import load_digits  # a version that keeps its data elsewhere

    pixels, labels = load_digits(return_X_y=True)
    return np.column_stack([pixels, labels])
