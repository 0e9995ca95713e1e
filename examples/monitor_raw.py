"""The gradient noise of a training by hand, with clipping and accumulation."""

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import critbatch as cb

ACCUMULATED = 4
digits: Any = load_digits()
inputs = torch.tensor(digits.data / 16, dtype=torch.float32)
targets = torch.tensor(digits.target)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
monitor = cb.GradientNoiseMonitor(model, optimizer, every=5, reduction="mean_over_steps")
order = torch.Generator().manual_seed(0)

for _ in range(4):
    batches = torch.randperm(len(inputs), generator=order)[: 7 * 256].split(64)
    for place, batch in enumerate(batches):
        (F.cross_entropy(model(inputs[batch]), targets[batch]) / ACCUMULATED).backward()
        if (place + 1) % ACCUMULATED == 0:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()

print(monitor.reading().sentence)
