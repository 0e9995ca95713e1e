"""Tiny tasks, and a check of unbiasedness that can fail and cannot be lucky."""

import numpy as np
import torch
from torch import nn

from critbatch.budgets.steps import Steps
from critbatch.objective import Metric, squared_error
from critbatch.optimizers.sgd import SGD
from critbatch.plan import Run
from critbatch.samplings.reshuffle import Reshuffle
from critbatch.schedules.constant import Constant
from critbatch.task import Target, Task


def blobs(count: int, seed: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Return three overlapping Gaussian classes in four dimensions."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=draw)
    centres = 2 * torch.eye(3, 4, dtype=dtype)
    return centres[labels] + torch.randn(count, 4, generator=draw, dtype=dtype), labels


def small_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))


def dropout_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def norm_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


MODELS = {"mlp": small_mlp, "dropout": dropout_mlp, "batch_norm": norm_mlp}


def blob_task(model=small_mlp, **more) -> Task:
    facts = {"name": "blobs", "target": Target("validation_accuracy", 0.8), "validation": blobs(200, 2)} | more
    return Task(model=model, train=blobs(96, 0), test=blobs(300, 1), **facts)


def regression_task(dimension: int = 4, count: int = 256) -> Task:
    """Return noiseless linear regression from a known start: loss 1/2 |error|^2 for isotropic inputs."""
    draw = torch.Generator().manual_seed(0)
    truth = torch.ones(dimension, 1)

    def data(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = torch.randn(size, dimension, generator=draw)
        return inputs, inputs @ truth

    return Task(
        name="regression",
        model=lambda: zero_linear(dimension),
        train=data(count),
        test=data(512),
        loss="squared_error",
        metric=Metric("squared_error", squared_error, "below"),
        target=Target("test_squared_error", 0.01),
    )


def zero_linear(dimension: int) -> nn.Module:
    layer = nn.Linear(dimension, 1, bias=False)
    nn.init.zeros_(layer.weight)
    return layer


def run_of(task: Task, **changes) -> Run:
    """Return a run of 20 steps on `task` with some fields changed."""
    fields = {
        "task": task.name, "revision": task.revision, "batch_size": 8, "learning_rate": 0.125, "seed": 0,
        "optimizer": SGD(), "schedule": Constant(), "sampling": Reshuffle(), "budget": Steps(20),
    } | changes  # fmt: skip
    return Run(**({"micro_batch_size": fields["batch_size"]} | fields))


def assert_unbiased(draws: np.ndarray, truth: float, smallest_bias: float) -> None:
    """Fail if the mean is 4 standard errors off, or if the draws could not show a relative bias of `smallest_bias`."""
    mean, error = draws.mean(), draws.std(ddof=1) / len(draws) ** 0.5
    assert error * 8 <= smallest_bias * abs(truth), f"too few draws to see {smallest_bias}"
    assert abs(mean - truth) <= 4 * error, f"mean {mean:.4g}, truth {truth:.4g}: ratio {mean / truth:.4f}"
