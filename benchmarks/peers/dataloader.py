"""The loop that most people write: a DataLoader over a TensorDataset, one model."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from ..answering import Trial, answer, timed
from ..workloads import Workload
from .torch_models import LEARNING_RATE, data, model


def prepare(workload: Workload, batch_size: int) -> Trial:
    """Return a training by the loop."""
    updates = _updates(workload, batch_size)
    return Trial(timed(lambda count: len(list(islice(updates, count)))))


def _updates(workload: Workload, batch_size: int) -> Iterator[None]:
    loader = DataLoader(TensorDataset(*data(workload)), batch_size, shuffle=True, drop_last=True)
    net = model(workload)
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE)
    while True:
        for inputs, targets in loader:
            optimizer.zero_grad()
            cross_entropy(net(inputs), targets).backward()
            optimizer.step()
            yield


if __name__ == "__main__":
    answer({"DataLoader loop": prepare}, ("torch",))
