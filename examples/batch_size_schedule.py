"""A batch that grows while training goes on, from a DataLoader: by a calendar, then by the measured gradient noise.

python examples/batch_size_schedule.py
"""

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import critbatch as cb

digits: Any = load_digits()
inputs, targets = digits.data, digits.target
data = TensorDataset(torch.tensor(inputs / 16, dtype=torch.float32), torch.tensor(targets))


def train(policy, epochs=8):
    torch.random.default_generator.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = cb.VariableBatchSampler(data, 16)
    loader = DataLoader(data, batch_sampler=batches)
    with cb.GradientNoiseMonitor(model, optimizer, every=1) as monitor:
        scheduler = cb.BatchSizeScheduler(batches, policy, optimizer, monitor=monitor, most=512)
        sizes = {}
        for _ in range(epochs):
            for x, y in loader:
                sizes[scheduler.batch_size] = sizes.get(scheduler.batch_size, 0) + 1
                loss = 0.0
                for part_x, part_y in zip(x.chunk(4), y.chunk(4), strict=True):  # what the noise is measured from
                    part = F.cross_entropy(model(part_x), part_y) * len(part_x) / len(x)
                    part.backward()
                    loss += part.item()
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step(loss)
    accuracy = (model(data.tensors[0]).argmax(1) == data.tensors[1]).float().mean()
    print(f"{type(policy).__name__}: {sum(sizes.values())} steps, batch sizes {sorted(sizes)}, accuracy {accuracy:.3f}")


train(cb.Ramp(examples=(4_000, 8_000), multiples=(2, 4)))
train(cb.NormTest(every=50, looks=50))
