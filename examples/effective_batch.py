"""A batch of 512 that memory does not hold: cut into what fits, the step done again where it did not, nothing changed.

python examples/effective_batch.py
"""

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import critbatch as cb

FITS = 100  # examples; beyond it this example pretends that memory is full
digits: Any = load_digits()
inputs, targets = digits.data, digits.target
data = TensorDataset(torch.tensor(inputs / 16, dtype=torch.float32), torch.tensor(targets))


def network():
    torch.random.default_generator.manual_seed(0)
    layers = torch.nn.Linear(64, 128), torch.nn.BatchNorm1d(128), torch.nn.ReLU(), torch.nn.Linear(128, 10)
    return torch.nn.Sequential(*layers)


def loss(model, batch):  # the SUM over examples: EffectiveBatch divides by the size of the whole batch
    if len(batch[0]) > FITS:
        raise torch.OutOfMemoryError("this example's memory is full")
    return F.cross_entropy(model(batch[0]), batch[1], reduction="sum")


model = network()
few = [tensor[:64] for tensor in data.tensors]
plain = cb.EffectiveBatch(model, torch.optim.SGD(model.parameters(), lr=0.1), loss=loss)
print("BatchNorm:", plain.check(few).reason)

model = cb.ghost_batchnorm(model, ghost_size=32)
effective = cb.EffectiveBatch(model, torch.optim.SGD(model.parameters(), lr=0.1), loss=loss)
print("Ghost BatchNorm:", effective.check(few).reason)
mean_loss = float("nan")
for batch in DataLoader(data, batch_size=512, drop_last=True):
    mean_loss = effective.step(batch)
print(f"batches of 512 in pieces of {effective.micro_batch_size}, loss {mean_loss:.3f}")
