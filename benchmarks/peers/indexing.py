"""The plain loop without a DataLoader: a fresh order in each epoch, batches by indexing, one model."""

from collections.abc import Iterator
from itertools import islice

import torch
from torch.nn.functional import cross_entropy

from ..answering import Trial, answer, timed
from ..workloads import Workload
from .torch_models import LEARNING_RATE, data, model


def prepare(workload: Workload, batch_size: int) -> Trial:
    """Return a training by the loop."""
    updates = _updates(workload, batch_size)
    return Trial(timed(lambda count: len(list(islice(updates, count)))))


def _updates(workload: Workload, batch_size: int) -> Iterator[None]:
    inputs, targets = data(workload)
    net = model(workload)
    optimizer = torch.optim.SGD(net.parameters(), lr=LEARNING_RATE)
    while True:
        order = torch.randperm(len(inputs))
        for start in range(0, len(inputs) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            optimizer.zero_grad()
            cross_entropy(net(inputs[chosen]), targets[chosen]).backward()
            optimizer.step()
            yield


if __name__ == "__main__":
    answer({"indexing loop": prepare}, ("torch",))
