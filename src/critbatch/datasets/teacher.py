"""Inputs without end, labelled by a fixed random network."""

import functools
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from ..data import Examples, Stream
from ..randomness import generator

INPUTS = 20
HIDDEN = 8
NOISE = 0.3  # standard deviation of the label noise; that of the clean label is about 1


@final
@dataclass(frozen=True, eq=False)
class TeacherSplits:
    """Training data drawn anew for ever, and fixed validation and test sets from the same distribution."""

    train: Stream
    validation: Examples
    test: Examples


def teacher_student(*, epoch: int = 4096, validation: int = 2000, test: int = 2000) -> TeacherSplits:
    """Return standard normal inputs in 20 dimensions with noisy labels from a fixed network of 8 hyperbolic tangents.

    There is no training set to fit by heart: a step at batch size B sees B new examples, as in the theory of stochastic
    approximation. No predictor has an expected loss (half the squared error) below 0.045, half the noise variance.

    Source: the setting of Saad and Solla (1995), On-line learning in soft committee machines, Phys. Rev. E 52(4).

    Args:
        epoch: Examples that count as one epoch.
        validation: Validation examples.
        test: Test examples.

    Returns:
        The stream and the two sets.
    """
    return TeacherSplits(
        Stream(draw, epoch),
        Examples(*draw(generator(0, "validation"), validation)),
        Examples(*draw(generator(0, "test"), test)),
    )


def draw(source: torch.Generator, count: int) -> tuple[Float[Tensor, "example input"], Float[Tensor, "example one"]]:
    """Return `count` independent inputs and their noisy labels.

    Args:
        source: Of inputs and noise. The teacher itself is always the same.
        count: Examples wanted.
    """
    inputs = torch.randn(count, INPUTS, generator=source, dtype=torch.float32)
    noise = torch.randn(count, 1, generator=source, dtype=torch.float32)
    return inputs, clean_labels(inputs) + NOISE * noise


def clean_labels(inputs: Float[Tensor, "example input"]) -> Float[Tensor, "example one"]:
    """Return the teacher's outputs: about zero mean and unit variance over its inputs."""
    first, second = _weights()
    return torch.tanh(inputs @ first) @ second


@functools.lru_cache(maxsize=1)
def _weights() -> tuple[Tensor, Tensor]:
    source = generator(0, "teacher")
    first = 2 * torch.randn(INPUTS, HIDDEN, generator=source, dtype=torch.float32) / INPUTS**0.5
    second = torch.randn(HIDDEN, 1, generator=source, dtype=torch.float32)
    probe = torch.randn(4096, INPUTS, generator=source, dtype=torch.float32)
    return first, second / (torch.tanh(probe @ first) @ second).std()
