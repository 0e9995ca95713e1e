"""A user's own convolutional network on Fashion-MNIST.

critbatch run examples/fashion_cnn.py:task

Set CRITBATCH_DATA to a folder that holds fashion-mnist/ with the four published .gz files.
"""

import gzip
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

import critbatch as cb

TRAIN, VALIDATION, TEST = 6_000, 1_000, 2_000


class SmallNet(nn.Module):
    """Two convolutions, an average over space, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 12, kernel_size=5, stride=2)
        self.second = nn.Conv2d(12, 24, kernel_size=5, stride=2)
        self.last = nn.Linear(24 * 4 * 4, 10)

    def forward(self, images):
        hidden = torch.relu(self.second(torch.relu(self.first(images))))
        return self.last(hidden.flatten(1))


def read(folder: Path, name: str, header: int) -> torch.Tensor:
    with gzip.open(folder / name) as file:
        return torch.from_numpy(np.frombuffer(file.read(), dtype=np.uint8, offset=header).copy())


def load(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    folder = Path(os.environ["CRITBATCH_DATA"]) / "fashion-mnist"
    pixels = read(folder, f"{split}-images-idx3-ubyte.gz", 16).reshape(-1, 1, 28, 28)
    labels = read(folder, f"{split}-labels-idx1-ubyte.gz", 8)
    return (pixels.float() / 255 - 0.286) / 0.353, labels.long()


def task() -> cb.Task:
    images, labels = load("train")
    test_images, test_labels = load("t10k")
    held_out = slice(TRAIN, TRAIN + VALIDATION)  # to choose learning rates; the test set is only reported
    return cb.Task(
        name="my_fashion_cnn",
        model=SmallNet,
        train=(images[:TRAIN], labels[:TRAIN]),
        validation=(images[held_out], labels[held_out]),
        test=(test_images[:TEST], test_labels[:TEST]),
        loss="cross_entropy",
        metric="accuracy",
        target=cb.Target("validation_accuracy", 0.8),
    )
