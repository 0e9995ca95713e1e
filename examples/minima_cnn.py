"""A convolutional network with BatchNorm: curvature, batch sharpness and the plane around where it ends.

python examples/minima_cnn.py
critbatch measure examples/minima_cnn.py:task batch_sharpness ascent_sharpness --weights cnn.pt --batch-size 64

Measurements take BatchNorm by its running statistics, so that a loss belongs to the weights alone. Where the batch is part
of the question, as in batch sharpness, `normalisation="batch"` takes those of each batch.
"""

from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn

import critbatch as cb
from critbatch.measurements.batch_sharpness import BatchSharpness
from critbatch.measurements.curvature import LossCurvature
from critbatch.minima.directions import random_direction
from critbatch.minima.lines import plane
from critbatch.minima.surface import Surface
from critbatch.pictures import draw_plane, save

digits: Any = load_digits()
images, labels = torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1), torch.tensor(digits.target)
INPUTS, TARGETS = images[:1200], labels[:1200]
TEST = images[1200:], labels[1200:]
RATE = 0.1


def network():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 16, 10),
    )


def task():
    return cb.Task(
        name="minima_cnn",
        model=network,
        train=(INPUTS, TARGETS),
        test=TEST,
        metric="accuracy",
        target=cb.Target("test_accuracy", 0.9),
    )


def train(batch_size, epochs):
    model, order = task().initialise(0).train(), torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for _ in range(epochs):
        for batch in torch.randperm(len(INPUTS), generator=order).split(batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(INPUTS[batch]), TARGETS[batch]).backward()
            optimizer.step()
    return model.eval()


if __name__ == "__main__":
    model = train(64, epochs=8)
    instruments = (
        LossCurvature(examples=256, steps=30, trace_products=12),
        BatchSharpness(examples=512, batches=16, normalisation="batch"),
    )
    for instrument in instruments:
        found = cb.measure(instrument, model, (INPUTS, TARGETS), batch_size=64, learning_rate=RATE)
        for quantity, unit in instrument.quantities.items():
            print(f"{quantity} = {found[quantity]:.4g} {unit}")

    surface = Surface(model, nn.CrossEntropyLoss(reduction="none"), INPUTS[:256], TARGETS[:256])
    draws, places = torch.Generator().manual_seed(1), torch.linspace(-1, 1, 21).tolist()
    first, second = (random_direction(surface, generator=draws) for _ in range(2))
    losses = plane(surface, first, second, first_positions=places, second_positions=places)
    print("drawn:", save(draw_plane(losses, places, places), Path("minima_cnn.png")))
    torch.save(model.state_dict(), "cnn.pt")
