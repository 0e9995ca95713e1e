"""The workloads as plain torch modules, and their data as tensors: shared by the peers that train with torch."""

from torch import Tensor, from_numpy, nn, set_num_threads

from ..workloads import CHANNELS, CLASSES, SIDE, Workload

LEARNING_RATE = 0.01


def model(workload: Workload) -> nn.Module:
    """Return the model with torch's default initialisation."""
    if workload.is_cnn:
        first, second = CHANNELS
        return nn.Sequential(
            nn.Conv2d(1, first, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(first, second, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(second * (SIDE // 4) ** 2, CLASSES),
        )  # fmt: skip
    layers: list[nn.Module] = []
    for width, following in zip(workload.widths[:-2], workload.widths[1:-1], strict=True):
        norm = [nn.BatchNorm1d(following)] if workload.batch_norm else []
        layers += [nn.Linear(width, following), *norm, nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(workload.widths[-2], CLASSES))


def data(workload: Workload) -> tuple[Tensor, Tensor]:
    """Return inputs and targets; from now on torch uses one thread."""
    set_num_threads(1)
    return from_numpy(workload.inputs()), from_numpy(workload.targets())
