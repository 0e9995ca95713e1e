"""Tiny tasks, and a check of unbiasedness that can fail and cannot be lucky."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from critbatch.budgets.steps import Steps
from critbatch.models.transformer import transformer
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


class Branched(nn.Module):
    """Residual connections, a module used twice, a tied read-out and a parameter that no gradient reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.twice = nn.Linear(4, 3, bias=False), nn.Linear(4, 4)
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, inputs):
        states = inputs + self.twice(inputs).tanh()
        states = states + self.twice(states).sin()
        return self.inside(states) + states @ self.inside.weight.T.cos()


class Frozen(nn.Module):
    """A frozen layer and a buffer, both of which depend on the seed; and buffers that the forward pass changes."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.out = nn.Linear(4, 6).requires_grad_(False), nn.Linear(6, 3)
        self.register_buffer("shift", torch.randn(6))
        self.register_buffer("average", torch.zeros(6))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs):
        states = self.features(inputs).tanh() + self.shift
        if self.training:
            self.average.mul_(0.9).add_(0.1 * states.detach().mean(0))
            self.count.add_(1)
        return self.out(states - self.average)


class Crossed(nn.Module):
    """Dropout of a tensor whose memory lies across, and dropout of whole channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(2, 5), nn.Linear(10, 3)
        self.drop, self.channels = nn.Dropout(0.3), nn.Dropout1d(0.3)

    def forward(self, inputs):
        states = self.first(inputs.reshape(-1, 2, 2)).transpose(1, 2).relu()
        return self.out((self.channels(self.drop(states)) + self.drop(states)).flatten(1))


class Last(nn.Module):
    """The last state of a recurrent network, read out."""

    def __init__(self, recurrent: nn.Module, width: int) -> None:
        super().__init__()
        self.recurrent, self.out = recurrent, nn.Linear(width, 3)

    def forward(self, inputs):
        return self.out(self.recurrent(inputs)[0][:, -1])


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.2, batch_first=True)
        self.out = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.out(self.layer(inputs).mean(1))


def activations(*modules: nn.Module) -> nn.Module:
    hidden = [part for module in modules for part in (nn.Linear(4, 4), module)]
    return nn.Sequential(*hidden, nn.Linear(4, 3))


def wide_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 2, groups=2, padding=(1, 0), bias=False), nn.GroupNorm(2, 4), nn.SiLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip


def sparse_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=2, dilation=(1, 2)), nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1), nn.Dropout2d(0.3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(3, 3),
    )  # fmt: skip


def series_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 4, 3, padding="same"), nn.BatchNorm1d(4), nn.Tanh(), nn.MaxPool1d(2), nn.AvgPool1d(2, 1, 1),
        nn.Conv1d(4, 2, 2, stride=2, padding=1), nn.LayerNorm((2, 2)), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip


# Each model, and the shape of an example of its data: an int counts tokens.
ZOO: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...] | int]] = {
    "linear": (lambda: nn.Linear(4, 3), (4,)),
    "tanh, gelu, silu, sigmoid": (
        lambda: activations(nn.Tanh(), nn.GELU(), nn.SiLU(), nn.GELU(approximate="tanh"), nn.Sigmoid()), (4,),
    ),
    "relu, elu, leaky relu, softplus": (
        lambda: activations(nn.ReLU(), nn.ELU(), nn.LeakyReLU(0.1), nn.Softplus(), nn.Hardtanh()), (4,),
    ),
    "dropout": (dropout_mlp, (4,)),
    "dropout across": (Crossed, (4,)),
    "batch norm": (norm_mlp, (4,)),
    "layer norm": (lambda: nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 3)), (4,)),
    "branched": (Branched, (4,)),
    "frozen": (Frozen, (4,)),
    "wide cnn": (wide_cnn, (2, 6, 6)),
    "sparse cnn": (sparse_cnn, (2, 7, 6)),
    "series cnn": (series_cnn, (3, 5)),
    "lstm": (lambda: Last(nn.LSTM(3, 4, batch_first=True), 4), (3, 3)),
    "gru": (lambda: Last(nn.GRU(3, 4, batch_first=True), 4), (3, 3)),
    "encoder layer": (Attending, (3, 4)),
    "transformer": (lambda: transformer(5, 4, width=4, heads=2, layers=1, dropout=0.1), 4),
}  # fmt: skip


def zoo_task(name: str, **more) -> Task:
    """Return a task of 24 training examples for a model of the zoo: three classes, or the next of five tokens."""
    model, shape = ZOO[name]
    draw = torch.Generator().manual_seed(0)

    def data(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        if isinstance(shape, int):
            tokens = torch.randint(5, (count, shape + 1), generator=draw)
            return tokens[:, :-1], tokens[:, 1:]
        return torch.randn(count, *shape, generator=draw), torch.randint(3, (count,), generator=draw)

    return Task(name="zoo", model=model, train=data(24), test=data(10), **more)


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
