"""A linear model: with cross-entropy, multinomial logistic regression."""

from torch import nn


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Module:
    """Return one affine layer; inputs of any shape are flattened.

    Args:
        inputs: Numbers in an example.
        outputs: Classes, or numbers to predict.
        bias: Whether there is one; without, the layer is linear and not affine.
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs, bias=bias))
