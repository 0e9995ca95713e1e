"""The loop anybody would write, and what it means that two trainings are the same."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from critbatch.optimizer import Optimizer
from critbatch.optimizers.adam import Adam
from critbatch.optimizers.adamw import AdamW
from critbatch.optimizers.sgd import SGD
from critbatch.plan import RunResult
from critbatch.randomness import seed_of
from critbatch.task import Task

BETAS = (0.9, 0.99)


class Rule(NamedTuple):
    """An optimizer of ours, the one of torch that it stands for, and a learning rate that suits it."""

    ours: Optimizer
    theirs: Callable[..., torch.optim.Optimizer]
    options: dict[str, Any]
    rate: float
    clip: float | None = None


RULES = {
    "sgd": Rule(SGD(), torch.optim.SGD, {}, 0.2),
    "decay": Rule(SGD(weight_decay=0.1), torch.optim.SGD, {"weight_decay": 0.1}, 0.2),
    "clipped": Rule(SGD(clip_norm=0.3), torch.optim.SGD, {}, 0.2, 0.3),
    "momentum": Rule(SGD(momentum=0.9), torch.optim.SGD, {"momentum": 0.9}, 0.02),
    "nesterov": Rule(
        SGD(momentum=0.9, nesterov=True, weight_decay=0.1, clip_norm=0.5), torch.optim.SGD,
        {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}, 0.02, 0.5,
    ),
    "adam": Rule(Adam(), torch.optim.Adam, {}, 0.01),
    "adam, decay": Rule(
        Adam(beta2=0.99, weight_decay=0.1, clip_norm=0.5), torch.optim.Adam, {"betas": BETAS, "weight_decay": 0.1}, 0.01,
        0.5,
    ),
    "adamw": Rule(AdamW(weight_decay=0.1), torch.optim.AdamW, {"weight_decay": 0.1}, 0.01),
    "adamw, clipped": Rule(
        AdamW(beta2=0.99, weight_decay=0, clip_norm=0.5), torch.optim.AdamW, {"betas": BETAS, "weight_decay": 0}, 0.01, 0.5
    ),
}  # fmt: skip


def train_by_hand(
    task: Task, rule: Rule, index: torch.Tensor, rates: Sequence[float], *, seed: int, dtype: torch.dtype
) -> tuple[torch.Tensor, nn.Module]:
    """Return the losses of steps on the given examples at the given rates, and the trained model."""
    data = task.train.to(torch.device("cpu"), dtype)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(seed_of(seed, "initialisation"))
        model = task.model().to(dtype)
        torch.default_generator.manual_seed(seed_of(seed, "forward"))
        optimizer = rule.theirs(model.parameters(), lr=rates[0], **rule.options)
        losses = []
        for batch, rate in zip(index, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            loss = task.losses(model(data.inputs[batch]), data.targets[batch]).mean()
            penalty = sum(one.square().sum() for one in model.parameters() if one.requires_grad) * (task.l2 / 2)
            (loss + penalty if task.l2 else loss).backward()
            if rule.clip is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), rule.clip)
            optimizer.step()
            losses.append(loss.detach())
    return torch.stack(losses), model


def distance(one: Any, other: Any) -> float:
    """Return the largest difference, relative to 1 + |number|; NaN where only one of two is finite."""
    one, other = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    assert one.shape == other.shape
    differs = ~((one == other) | (np.isnan(one) & np.isnan(other)))
    with np.errstate(invalid="ignore"):
        return float(np.max(np.abs(one - other)[differs] / (1 + np.abs(other[differs])), initial=0.0))


def assert_alike(found: Sequence[RunResult], expected: Sequence[RunResult], tolerance: float) -> None:
    """Fail unless both hold the same runs, endings, lengths and looks, and values alike up to `tolerance`."""
    assert [one.run.id for one in found] == [one.run.id for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert (one.ending, one.steps, one.examples) == (other.ending, other.steps, other.examples)
        for column in ("step", "examples", "quantity"):
            assert one.records[column].to_list() == other.records[column].to_list()
        assert distance(one.records["value"], other.records["value"]) <= tolerance


def numbers(results: Sequence[RunResult]) -> list[Any]:
    """Return all that must not depend on who trains beside a run, as exact values."""
    return [
        (one.run.id, one.ending, one.steps, one.examples, *map(repr, one.records.drop("seconds").rows()))
        for one in results
    ]
