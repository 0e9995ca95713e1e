"""Tables of the UCI Machine Learning Repository, from ARFF or PMLB files."""

import functools
import gzip
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from ..data import Examples
from ..randomness import generator
from .location import locate
from .splits import Splits, sixty_twenty_twenty, standardise, stratified
from .tables import Column, classes, numbers, one_hot, read_arff, read_tsv

CLASS = {"wine": "class", "flags": "religion"}  # elsewhere the last column; flags: as its header proposes
NOT_INPUTS = {  # names of single rows, and how a table was divided by those who gave it
    "bridges.version1": ("IDENTIF",),
    "bridges.version2": ("IDENTIF",),
    "flags": ("name",),
    "vowel": ("Train or Test", "Speaker Number", "Sex"),
    "zoo": ("animal",),
}


def uci(table: str) -> tuple[Splits, list[str]]:
    """Return a table as numbers in a fixed stratified 60/20/20 split, and the names of its classes.

    Numeric columns are standardised by their training part; a missing number becomes the training mean. Nominal columns
    become one 0/1 column for each value, and one more for missing values. The class is the last column but for the few
    tables of which the header says otherwise. Columns that only name a row are left out, as are rows without a class.

    Source: Dua and Graff (2019), UCI Machine Learning Repository, CC BY 4.0; Olson et al. (2017), arXiv:1703.00512.

    Args:
        table: A file's name without its ending, for example "sonar" (sonar.arff) or "satimage" (satimage.tsv.gz).

    Returns:
        The three sets, and the classes in the order of their numbers.
    """
    folder = "uci-wilson-martinez"
    return _load(table, locate(f"{folder}/{table}.arff", f"{folder}/{table}.tsv.gz", f"{table}/{table}.tsv.gz"))


@functools.lru_cache(maxsize=32)
def _load(table: str, path: Path) -> tuple[Splits, list[str]]:
    try:
        columns = (
            read_arff(path.read_text(encoding="utf-8"))
            if path.suffix == ".arff"
            else read_tsv(gzip.decompress(path.read_bytes()).decode())
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    target = CLASS.get(table, columns[-1].name)
    label_numbers, names = classes(next(column for column in columns if column.name == target))
    labels = torch.from_numpy(label_numbers)
    labelled = (labels >= 0).nonzero()[:, 0]
    chosen = stratified(labels[labelled], sixty_twenty_twenty(len(labelled)), generator(0, "split"))
    parts = [labelled[part] for part in chosen]
    kept = [column for column in columns if column.name not in (target, *NOT_INPUTS.get(table, ()))]
    inputs = torch.from_numpy(encode(kept, parts[0].numpy()))
    return Splits(*(Examples(inputs[part], labels[part]) for part in parts)), names


def encode(columns: list[Column], train: np.ndarray) -> Float[np.ndarray, "example feature"]:
    """Return the columns as features: standardised numbers and 0/1 indicators.

    Args:
        columns: The input columns.
        train: Indices of the training part, which alone decides means and deviations.

    Returns:
        Features in float32, in the order of the columns.
    """
    blocks: list[np.ndarray] = []
    for column in columns:
        if column.values is not None:
            blocks.append(one_hot(column))
            continue
        values = numbers(column)
        known = values[train][~np.isnan(values[train])]
        values = np.where(np.isnan(values), known.mean() if len(known) else 0.0, values)
        tensor = torch.from_numpy(values)
        blocks.append(standardise(tensor, tensor[torch.from_numpy(train)]).numpy()[:, None])
    return np.concatenate(blocks, axis=1).astype(np.float32)
