"""The tables that scikit-learn carries: no download and no data folder."""

import functools
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from torch import Tensor

from ..data import Examples
from ..randomness import generator
from .splits import Splits, sixty_twenty_twenty, standardise, stratified


@functools.lru_cache
def breast_cancer() -> Splits:
    """Return 569 tumours with 30 standardised measurements; class 0 is malignant, 1 benign.

    Source: Street, Wolberg and Mangasarian (1993), UCI Breast Cancer Wisconsin (Diagnostic), CC BY 4.0.
    """
    return _classes(*_tensors(load_breast_cancer(return_X_y=True)))


@functools.lru_cache
def wine() -> Splits:
    """Return 178 wines of three cultivars with 13 standardised chemical measurements.

    Source: Aeberhard and Forina (1992), UCI Wine, CC BY 4.0.
    """
    return _classes(*_tensors(load_wine(return_X_y=True)))


@functools.lru_cache
def iris() -> Splits:
    """Return 150 flowers of three species with four standardised lengths.

    Source: Fisher (1936), UCI Iris, CC BY 4.0.
    """
    return _classes(*_tensors(load_iris(return_X_y=True)))


@functools.lru_cache
def diabetes() -> Splits:
    """Return 442 patients with ten standardised measurements; targets are disease progression in standard deviations.

    Source: Efron, Hastie, Johnstone and Tibshirani (2004), Least Angle Regression, Annals of Statistics 32(2).
    """
    inputs, progression = (
        torch.from_numpy(np.asarray(part, dtype=np.float32)) for part in load_diabetes(return_X_y=True)
    )
    one_class = torch.zeros(len(inputs), dtype=torch.int64)
    parts = stratified(one_class, sixty_twenty_twenty(len(inputs)), generator(0, "split"))
    inputs, progression = standardise(inputs, inputs[parts[0]]), standardise(progression, progression[parts[0]])
    return Splits(*(Examples(inputs[part], progression[part]) for part in parts))


def _classes(inputs: Tensor, labels: Tensor) -> Splits:
    parts = stratified(labels, sixty_twenty_twenty(len(labels)), generator(0, "split"))
    inputs = standardise(inputs, inputs[parts[0]])
    return Splits(*(Examples(inputs[part], labels[part]) for part in parts))


def _tensors(table: Any) -> tuple[Tensor, Tensor]:
    inputs, labels = table
    return torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(labels.astype(np.int64))
