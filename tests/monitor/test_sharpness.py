"""Batch sharpness against the dense Hessian; measuring it leaves a training as it was."""

import pytest
import torch
from torch import nn
from torch.autograd.functional import hessian
from torch.func import functional_call
from torch.nn import functional as F

from critbatch.monitor import GradientNoiseMonitor
from critbatch.monitor.sharpness import batch_sharpness

from .loops import OPTIMIZERS, batches, perceptron


def test_equals_the_dense_hessian() -> None:
    model = perceptron()
    inputs, targets = batches(1, 12)[0]
    names = [name for name, _ in model.named_parameters()]
    shapes = [one.shape for one in model.parameters()]
    flat = torch.nn.utils.parameters_to_vector(model.parameters()).detach()

    def loss(values: torch.Tensor) -> torch.Tensor:
        parts = [
            one.reshape(shape) for one, shape in zip(values.split([s.numel() for s in shapes]), shapes, strict=True)
        ]
        return F.cross_entropy(functional_call(model, dict(zip(names, parts, strict=True)), (inputs,)), targets)

    gradient = torch.func.grad(loss)(flat)
    expected = float(gradient @ hessian(loss, flat) @ gradient / gradient.square().sum())
    found = batch_sharpness(model, list(model.parameters()), lambda: F.cross_entropy(model(inputs), targets))
    assert found == pytest.approx(expected, rel=1e-9)


def test_of_a_quadratic_it_is_the_mean_curvature() -> None:
    curvatures = torch.tensor([1.0, 3.0, 8.0], dtype=torch.float64)
    place = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    model = nn.Module()
    model.register_parameter("place", place)
    assert batch_sharpness(model, [place], lambda: (curvatures * place**2 / 2).mean()) == pytest.approx(4.0)


@pytest.mark.parametrize("unit", ["example", "micro_batch"])
def test_training_is_left_as_it_was(unit: str) -> None:
    def trained(watched: bool) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.default_generator.manual_seed(0)
            norm = nn.LayerNorm(8) if unit == "example" else nn.BatchNorm1d(8)
            model = nn.Sequential(nn.Linear(6, 8), norm, nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, 3))
            optimizer = OPTIMIZERS["SGD"](model)
            monitor = GradientNoiseMonitor(model, optimizer, every=1, unit=unit) if watched else None
            for inputs, targets in batches(4, 12, dtype=torch.float32):
                optimizer.zero_grad()

                def loss(x: torch.Tensor = inputs, y: torch.Tensor = targets) -> torch.Tensor:
                    return F.cross_entropy(model(x), y)

                loss().backward()
                if monitor is not None:
                    assert monitor.measure_sharpness(loss) is not None
                optimizer.step()
            if monitor is not None:
                assert not monitor.messages or unit == "micro_batch"
                assert len(monitor.history.sharpness) == 4
                assert monitor.reading().sharpness[1] == pytest.approx(20.0 if unit == "example" else 0.0)
            return torch.cat([one.detach().flatten().double() for one in (*model.parameters(), *model.buffers())])

    assert torch.equal(trained(False), trained(True))
