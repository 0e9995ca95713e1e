"""May I double the batch now? Branches from a checkpoint in the middle of a training.

python examples/branch_raw.py
"""

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import critbatch as cb
from critbatch.scaling_rules.linear import Linear

digits: Any = load_digits()
inputs, targets = digits.data, digits.target
inputs, targets = torch.tensor(inputs / 16, dtype=torch.float32), torch.tensor(targets)
train, evaluation = TensorDataset(inputs[:1400], targets[:1400]), TensorDataset(inputs[1400:], targets[1400:])

torch.random.default_generator.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.4)


def losses(model, batch):  # one for each example
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


for _ in range(2):  # the training so far: two epochs at batch size 16
    for index in torch.randperm(len(train)).split(16):
        optimizer.zero_grad()
        losses(model, train[index]).mean().backward()
        optimizer.step()

loop = cb.BranchLoop(model, optimizer, losses=losses, train=train, evaluation=evaluation)
print(cb.branch(loop, batch_size=16, examples=2_816, rule=Linear(), seeds=5))
