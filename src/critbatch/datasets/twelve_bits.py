"""All patterns of twelve bits with a binary label: the task on which the information plane was drawn first."""

import functools

import numpy as np
import torch
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from ..data import Examples
from ..randomness import generator
from .location import locate
from .splits import Splits

BITS = 12


def twelve_bits(*, train: int = 3277, validation: int = 400, in_order: bool = False) -> Splits:
    """Return the 4,096 patterns of twelve bits, 0 or 1, as training and validation set, and the rest to test on.

    Source: Shwartz-Ziv and Tishby (2017), arXiv:1703.00810; the file `ib-12bit/var_u.mat` that Saxe et al. (2018) give out.

    Args:
        train: Training patterns.
        validation: Validation patterns, of what is left in a fixed random order.
        in_order: Whether these are the first as the file has them, which counts in binary: what the released code of
            Shwartz-Ziv and Tishby trains on. Labels are then rarer in training (.437) than in what is left (.836).
            Otherwise the first of one fixed random order.

    Raises:
        ValueError: If there would be nothing left to test on, or the file is not what it should be.
        FileNotFoundError: If there is no such file.
    """
    inputs, targets = _table()
    if train < 1 or validation < 1 or train + validation >= len(inputs):
        raise ValueError(
            f"`twelve_bits(train={train}, validation={validation})`: give at least 1 of each and, of {len(inputs)} "
            "patterns, leave 1 to test on."
        )
    order = torch.randperm(len(inputs), generator=generator(0, "twelve bits"))
    first = torch.arange(train) if in_order else order[:train]
    rest = order[~torch.isin(order, first)]
    parts = (first, rest[:validation], rest[validation:])
    return Splits(*(Examples(inputs[part], targets[part]) for part in parts))


@functools.lru_cache
def _table() -> tuple[torch.Tensor, torch.Tensor]:
    """Return patterns and labels.

    Raises:
        ValueError: If the file is damaged.
        FileNotFoundError: If it is not there.
    """
    path = locate("ib-12bit/var_u.mat")
    try:
        found = loadmat(path, variable_names=["F", "y"])
        patterns, labels = np.asarray(found["F"]), np.asarray(found["y"]).ravel()
    except (MatReadError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no MATLAB file with the tables F and y: {error}. Copy it again.") from error
    if patterns.shape != (2**BITS, BITS) or labels.shape != (2**BITS,) or not np.isin(patterns, (0, 1)).all():
        raise ValueError(
            f"{path}: F has shape {patterns.shape} and y {labels.shape}; expected all {2**BITS} patterns of {BITS} bits. "
            "Copy it again."
        )
    return torch.from_numpy(patterns.astype(np.float32)), torch.from_numpy(labels.astype(np.int64))
