"""A small transformer on a task of its own, to repeat what it read: curvature, gradient noise and the Hessian's spectrum.

python examples/minima_transformer.py
critbatch measure examples/minima_transformer.py:task curvature --weights transformer.pt

The loss has one value for each sequence. Attention is differentiated twice by the kernel that allows it.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

import critbatch as cb
from critbatch.measurements.curvature import LossCurvature
from critbatch.measurements.noise_covariance import NoiseCovariance
from critbatch.minima.density import quadrature
from critbatch.minima.surface import Surface
from critbatch.models.transformer import transformer
from critbatch.pictures import draw_density, save

TOKENS, HALF = 8, 6


def sequences(count, seed):
    """Return random halves that are followed by themselves, and the token that comes next at each place."""
    halves = torch.randint(TOKENS, (count, HALF), generator=torch.Generator().manual_seed(seed))
    whole = torch.cat([halves, halves], dim=1)
    return whole[:, :-1], whole[:, 1:]


def surprise(outputs, targets):
    """Return the mean surprise of each sequence in nats, over the half that can be known."""
    known = outputs[:, HALF - 1 :].transpose(1, 2), targets[:, HALF - 1 :]
    return nn.functional.cross_entropy(*known, reduction="none").mean(1)


def network():
    return transformer(TOKENS, 2 * HALF - 1, width=32, heads=2, layers=2)


INPUTS, TARGETS = sequences(512, seed=0)


def task():
    return cb.Task(
        name="minima_transformer",
        model=network,
        train=(INPUTS, TARGETS),
        test=sequences(256, seed=1),
        loss=surprise,
        metric=None,
        target=cb.Target("test_loss", 1.5),
    )


def train(steps, batch_size):
    model, order = task().initialise(0), torch.Generator().manual_seed(2)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        batch = torch.randint(len(INPUTS), (batch_size,), generator=order)
        optimizer.zero_grad()
        surprise(model(INPUTS[batch]), TARGETS[batch]).mean().backward()
        optimizer.step()
    return model.eval()


if __name__ == "__main__":
    model = train(300, batch_size=32)
    for instrument in (LossCurvature(examples=128, steps=20, trace_products=12), NoiseCovariance(examples=128)):
        found = cb.measure(instrument, model, (INPUTS, TARGETS), loss=surprise)
        for quantity, unit in instrument.quantities.items():
            print(f"{quantity} = {found[quantity]:.4g} {unit}")

    hessian = Surface(model, surprise, INPUTS[:64], TARGETS[:64]).hessian()
    nodes = quadrature(hessian, torch.Generator().manual_seed(3), probes=4, steps=30)
    reach = nodes.nodes.max() - nodes.nodes.min()
    grid = np.linspace(nodes.nodes.min() - 0.05 * reach, nodes.nodes.max() + 0.05 * reach, 400)
    chart = draw_density(nodes.density(grid, width=reach / 40), quantity="Eigenvalue of the Hessian")
    print("drawn:", save(chart, Path("minima_transformer.png")))
    torch.save(model.state_dict(), "transformer.pt")
