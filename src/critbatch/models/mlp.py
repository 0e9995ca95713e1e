"""A multilayer perceptron."""

import itertools
from collections.abc import Callable, Sequence

from torch import nn


def mlp(
    sizes: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU, *, batch_norm: bool = False,
    normalisation: Callable[[int], nn.Module] | None = None,
) -> nn.Module:  # fmt: skip
    """Return fully connected layers with an activation between them; inputs of any shape are flattened.

    Weights start as PyTorch's defaults: uniform within 1/sqrt(inputs).

    Args:
        sizes: Width of each layer, from inputs to outputs: (64, 128, 10) has one hidden layer of 128.
        activation: Makes the module between layers.
        batch_norm: Whether each hidden layer is normalised over the batch before its activation. The gradient of an
            example then depends on the rest of its batch.
        normalisation: Makes another layer in place of BatchNorm, given the number of features.

    Raises:
        ValueError: If there is not at least an input and an output size.
    """
    if len(sizes) < 2:
        raise ValueError(f"`mlp(sizes={tuple(sizes)})`: needs the sizes of inputs and outputs at least.")
    layers: list[nn.Module] = [nn.Flatten()]
    normal = normalisation or (nn.BatchNorm1d if batch_norm else None)
    for width, following in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(width, following), *([normal(following)] if normal else []), activation()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))
