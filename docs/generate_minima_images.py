"""Draw the pictures of docs/minima.md from small trainings of our own: `python docs/generate_minima_images.py`, 2 minutes."""

import copy
from pathlib import Path

import numpy as np
import torch
from torch import nn

import critbatch as cb
from critbatch.derivatives import per_example_gradients
from critbatch.measurements.information_plane import InformationPlane
from critbatch.minima.density import quadrature
from critbatch.minima.directions import random_direction
from critbatch.minima.lines import flat_width, interpolation, plane
from critbatch.minima.surface import Surface
from critbatch.models.mlp import mlp
from critbatch.mutual_information.binning import Fixed
from critbatch.noise import covariance_spectrum
from critbatch.pictures import (
    draw_autocorrelation,
    draw_density,
    draw_eigenvalues,
    draw_information,
    draw_line,
    draw_plane,
    draw_planes,
    information_along,
    save,
)
from critbatch.plots import Drawing
from critbatch.tasks.digits import task as digits
from critbatch.trajectories.circulation import principal_coordinates
from critbatch.trajectories.two_layer import TwoLayer, follow, shuffled

FOLDER = Path(__file__).parent / "images" / "minima"
TASK = digits()
INPUTS, TARGETS = TASK.train.inputs, TASK.train.targets
EIGENVALUE, DIRECTION = "loss per squared unit of a parameter", "direction (share of the filters' norms)"


def draws(seed: int) -> torch.Generator:
    """Return a stream of draws."""
    return torch.Generator().manual_seed(seed)


def trained(seed: int, batch_size: int, learning_rate: float, epochs: int) -> nn.Module:
    """Return a network after plain SGD."""
    model = TASK.initialise(seed).train()
    optimizer, order = torch.optim.SGD(model.parameters(), lr=learning_rate), draws(1)
    for _ in range(epochs):
        for chosen in torch.randperm(len(INPUTS), generator=order).split(batch_size):
            optimizer.zero_grad()
            TASK.losses(model(INPUTS[chosen]), TARGETS[chosen]).mean().backward()
            optimizer.step()
    return model.eval()


def surface(model: nn.Module, count: int = 1024) -> Surface:
    """Return the mean training loss around a model."""
    return Surface(model, TASK.losses, INPUTS[:count], TARGETS[:count])


def accuracy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return 1 for each example that the model gives its class."""
    return (outputs.argmax(1) == targets).double()


def density(model: nn.Module) -> Drawing:
    """Return the spectral density of the Hessian where SGD ends, and where it began."""
    here, start = (
        quadrature(surface(one, 512).hessian(), draws(2), probes=6, steps=60) for one in (model, TASK.initialise(0))
    )
    nodes = np.concatenate([here.nodes.ravel(), start.nodes.ravel()])
    grid = np.linspace(nodes.min() - 0.1, nodes.max() + 0.1, 600)
    title = f"Eigenvalue of the Hessian ({EIGENVALUE})"
    return draw_density(
        here.density(grid, width=0.015), null=start.density(grid, width=0.015), name="after training", null_name="at the start",
        quantity=title,
    )  # fmt: skip


def noise(model: nn.Module) -> Drawing:
    """Return the spectrum of the gradient noise covariance beside that of isotropic noise with its trace."""
    double = copy.deepcopy(model).double()
    gradients = per_example_gradients(double, TASK.losses, INPUTS[:500].double(), TARGETS[:500])
    values = covariance_spectrum(gradients)
    null = covariance_spectrum(torch.randn(gradients.shape, generator=draws(3), dtype=torch.float64))
    null = null * (values.sum() / null.sum())
    return draw_eigenvalues(
        values[:-1].numpy(), null=null[:-1].numpy(), name="gradient noise", null_name="isotropic noise of the same trace",
        quantity="Eigenvalue of the gradient noise covariance ((loss per unit of a parameter)²)",
    )  # fmt: skip


def line(small: nn.Module, large: nn.Module) -> Drawing:
    """Return loss and accuracy between the solutions of a small and a large batch size."""
    metrics = {"Training accuracy": accuracy}
    found = interpolation(surface(small), surface(large), metrics=metrics)
    widths = {"at batch size 16": flat_width(found, 0.0), "at batch size 1024": flat_width(found, 1.0)}
    return draw_line(found, widths=widths, ends=("batch size 16", "batch size 1024"), loss="Mean training loss (nats)")


def landscape(model: nn.Module) -> Drawing:
    """Return the loss on a filter-normalised plane through a solution."""
    here, generator = surface(model, 512), draws(4)
    first, second = (random_direction(here, generator=generator) for _ in range(2))
    positions = np.linspace(-1, 1, 41).tolist()
    losses = plane(here, first, second, first_positions=positions, second_positions=positions)
    return draw_plane(
        losses, positions, positions, axes=(f"First {DIRECTION}", f"Second {DIRECTION}"), loss="Loss (nats)"
    )


def information() -> Drawing:
    """Return the information plane of a tanh network with narrow layers, binned as the first paper binned."""
    narrow = cb.Task(
        name="narrow", model=lambda: mlp((64, 12, 6, 4, 10), nn.Tanh), train=(INPUTS, TARGETS), test=(INPUTS, TARGETS),
        metric=None, revision="narrow",
    )  # fmt: skip
    return _followed(narrow.initialise(5))


def _followed(model: nn.Module) -> Drawing:
    instrument, steps, readings = InformationPlane(bins=Fixed(30), layers=3, examples=1024), [], []
    optimizer, order, step = torch.optim.SGD(model.parameters(), lr=0.3), draws(6), 0
    looks = {round(10 ** (place / 8)) for place in range(33)}
    while step < max(looks):
        for chosen in torch.randperm(len(INPUTS), generator=order).split(64):
            optimizer.zero_grad()
            TASK.losses(model(INPUTS[chosen]), TARGETS[chosen]).mean().backward()
            optimizer.step()
            step += 1
            if step in looks:
                steps.append(step)
                readings.append(cb.measure(instrument, model, (INPUTS, TARGETS)))
    inputs, targets = information_along(readings, [instrument.names(layer) for layer in (1, 2, 3)])
    names = ["first layer (12 units)", "second (6)", "third (4)"]
    shares = np.unique(TARGETS.numpy(), return_counts=True)[1] / len(TARGETS)
    ceiling = float(np.log2(len(INPUTS))), float(-(shares * np.log2(shares)).sum())
    return draw_information(inputs, targets, steps=steps, layers=names, ceiling=ceiling)


def trajectory() -> tuple[Drawing, Drawing]:
    """Return the planes and the increments' memory of SGD that trains on once it has settled."""
    pixels = INPUTS.numpy().astype(float)
    axes = np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)[2][:8]
    network = TwoLayer(pixels[:200] @ axes.T, TARGETS.numpy()[:200], hidden=8, classes=10, l2=1e-2)
    generator = np.random.default_rng(7)
    start = generator.normal(scale=0.3, size=network.size)
    path = follow(start, shuffled(network, 20, generator), learning_rate=0.5, epochs=24_000)[16_000:]
    components = principal_coordinates(path, 3)
    return (
        draw_planes(path, pairs=((1, 2), (2, 3)), step="epoch"),
        draw_autocorrelation(components, most_lag=40, lag="epochs"),
    )


def main() -> None:
    """Write every picture."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    small, large = trained(0, 16, 0.1, 60), trained(1, 1024, 0.5, 1000)
    planes, memory = trajectory()
    pictures = {
        "density": density(small), "noise-spectrum": noise(small), "line": line(small, large), "plane": landscape(small),
        "information-plane": information(), "trajectory": planes, "autocorrelation": memory,
    }  # fmt: skip
    for name, picture in pictures.items():
        save(picture, FOLDER / f"{name}.png", scale=1.5)


if __name__ == "__main__":
    main()
