"""Accelerate: the same moments as a plain loop, with clipping and accumulation; the same weights without the monitor."""

from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from . import raw

pytestmark = pytest.mark.filterwarnings("ignore")


def train(accumulated: int, watched: bool = True, **options: Any) -> tuple[Any, torch.Tensor]:
    from accelerate import Accelerator

    from critbatch.integrations.accelerate import attach

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulated)
    model = raw.perceptron()
    optimizer = torch.optim.SGD(model.parameters(), raw.RATE)
    loader = DataLoader(TensorDataset(*raw.data()), batch_size=raw.SIZE)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    monitor = attach(accelerator, model, optimizer, every=1, **options) if watched else None
    for _ in range(raw.EPOCHS):
        for inputs, targets in loader:
            with accelerator.accumulate(model):
                accelerator.backward(F.cross_entropy(model(inputs), targets))
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), raw.CLIP)
                optimizer.step()
                optimizer.zero_grad()
    return monitor, raw.flat(model)


@pytest.mark.parametrize(("accumulated", "unit", "each"), [(4, "auto", False), (4, "example", True), (1, "auto", True)])
def test_moments_are_those_of_the_plain_loop(accumulated: int, unit: str, each: bool) -> None:
    raw.needs("accelerate")
    some = raw.windows(accumulated=accumulated)
    seen = raw.train(some, accumulated)
    monitor, after = train(accumulated, unit=unit)
    assert torch.equal(after, seen[-1])
    raw.assert_same_moments(monitor, seen, some, each)
    raw.assert_same_alignment(monitor, seen, some)


@pytest.mark.parametrize("accumulated", [1, 4])
def test_weights_are_the_same_bit_for_bit(accumulated: int) -> None:
    raw.needs("accelerate")
    assert torch.equal(train(accumulated)[1], train(accumulated, watched=False)[1])
