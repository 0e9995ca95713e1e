"""Surfaces whose shape is known: quadratics of any Hessian, and a small trained ReLU network."""

import functools

import numpy as np
import torch
from torch import Tensor, nn

from critbatch.minima.surface import Surface
from critbatch.models.transformer import transformer
from critbatch.objective import cross_entropy, squared_error
from tests.problems import blobs


def quadratic(hessian: np.ndarray, point: np.ndarray, minimum: np.ndarray, *, l2: float = 0.0) -> Surface:
    """Return f(w) = (w - minimum)' H (w - minimum) / 2 at a point, by linear regression; H positive semidefinite."""
    values, vectors = np.linalg.eigh(hessian)
    inputs = (np.sqrt(len(values) * np.maximum(values, 0))[:, None] * vectors.T).copy()
    model = nn.Linear(len(values), 1, bias=False).double()
    with torch.no_grad():
        model.weight[:] = torch.from_numpy(point)
    targets = torch.from_numpy(inputs @ minimum)[:, None]
    return Surface(model, squared_error, torch.from_numpy(inputs), targets, l2=l2)


def curved(size: int, seed: int = 0) -> np.ndarray:
    """Return a random positive definite matrix."""
    root = np.random.default_rng(seed).normal(size=(size, size))
    return root @ root.T / size


def relu_net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)).double()


@functools.cache
def trained_relu_net() -> nn.Module:
    """Return a ReLU network near a minimum for 96 blobs: 300 steps of Adam on all of them."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = relu_net()
    inputs, targets = blobs(96, 0, torch.float64)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).mean().backward()
        optimizer.step()
    return model


def trained_surface(model: nn.Module | None = None) -> Surface:
    return Surface(model or trained_relu_net(), cross_entropy, *blobs(96, 0, torch.float64))


def norm_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3),
    )  # fmt: skip


def _images() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(24, 1, 4, 4, generator=draw, dtype=torch.float64), torch.randint(3, (24,), generator=draw)


def _tokens() -> tuple[Tensor, Tensor]:
    drawn = torch.randint(5, (24, 5), generator=torch.Generator().manual_seed(0))
    return drawn[:, :-1], drawn[:, 1:]


NETWORKS = {
    "mlp": (relu_net, lambda: blobs(24, 0, torch.float64)),
    "cnn with batch norm": (norm_cnn, _images),
    "transformer": (lambda: transformer(5, 4, width=4, heads=2, layers=1), _tokens),
}


def network_surface(name: str, **options) -> Surface:
    """Return a surface of a small untrained network in double precision, its running statistics moved."""
    make, data = NETWORKS[name]
    inputs, targets = data()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1)
        model = make().double()
    model(inputs)
    return Surface(model, cross_entropy, inputs, targets, **options)
