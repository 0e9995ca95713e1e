"""Where two batch sizes end: sharpness from Python, and a picture of the line between the two.

python examples/minima_mlp.py
critbatch measure examples/minima_mlp.py:task curvature keskar_sharpness --weights mlp.pt
"""

from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn

import critbatch as cb
from critbatch.measurements.adaptive_sharpness import AdaptiveSharpness
from critbatch.measurements.curvature import LossCurvature
from critbatch.measurements.keskar_sharpness import KeskarSharpness
from critbatch.minima.lines import flat_width, interpolation
from critbatch.minima.surface import Surface
from critbatch.pictures import draw_line, save

digits: Any = load_digits()
INPUTS, TARGETS = torch.tensor(digits.data / 16, dtype=torch.float32), torch.tensor(digits.target)
TRAIN, TEST = (INPUTS[:1200], TARGETS[:1200]), (INPUTS[1200:], TARGETS[1200:])


def network():
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def task():
    return cb.Task(
        name="minima_mlp",
        model=network,
        train=TRAIN,
        test=TEST,
        metric="accuracy",
        target=cb.Target("test_accuracy", 0.9),
    )


def train(batch_size, learning_rate, epochs, seed):
    (inputs, targets), model, order = TRAIN, task().initialise(seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=learning_rate)
    for _ in range(epochs):
        for batch in torch.randperm(len(inputs), generator=order).split(batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), targets[batch]).backward()
            optimizer.step()
    return model.eval()


if __name__ == "__main__":
    small, large = train(16, 0.1, epochs=30, seed=0), train(512, 0.5, epochs=200, seed=1)
    instruments = LossCurvature(), KeskarSharpness(), AdaptiveSharpness()
    for name, model in (("batch size 16", small), ("batch size 512", large)):
        found = {}
        for instrument in instruments:
            found |= cb.measure(instrument, model, TRAIN)
        for quantity in ("hessian_largest_eigenvalue", "hessian_trace", "adaptive_sharpness[elementwise]"):
            print(f"{name}: {quantity} = {found[quantity]:.4g}")

    losses = nn.CrossEntropyLoss(reduction="none")
    ends = [Surface(model, losses, *TRAIN) for model in (small, large)]
    along = interpolation(*ends, metrics={"Training accuracy": lambda outputs, targets: outputs.argmax(1) == targets})
    widths = {"batch size 16": flat_width(along, 0.0), "batch size 512": flat_width(along, 1.0)}
    print("drawn:", save(draw_line(along, widths=widths, ends=("16", "512")), Path("minima_mlp.png")))
    torch.save(small.state_dict(), "mlp.pt")
