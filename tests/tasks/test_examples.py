"""The examples of own tasks load as a user would name them, and stay short."""

from pathlib import Path

import pytest
import torch

from critbatch import catalog

from ..requirements import require_data

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.parametrize("name", ["fashion_cnn", "shakespeare_transformer"])
def test_an_example_is_a_task_of_its_own(name):
    require_data()
    path = EXAMPLES / f"{name}.py"
    task = catalog.load_task(f"{path}:task")
    assert task.name not in catalog.names("tasks")
    batch = task.train.epoch(0, 0)
    model = task.initialise(0)
    losses = task.losses(model(batch.inputs[:16]), batch.targets[:16])
    losses.mean().backward()
    assert losses.shape == (16,)
    gradients = torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])
    assert gradients.isfinite().all()
    assert len(gradients) == sum(parameter.numel() for parameter in model.parameters())
    assert task.target is not None


@pytest.mark.parametrize("name", ["fashion_cnn", "shakespeare_transformer"])
def test_an_example_is_short_and_says_how_it_is_run(name):
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 70
    assert f"critbatch run examples/{name}.py:task" in text
    assert "from critbatch" not in text  # only the public names
