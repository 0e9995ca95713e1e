"""One run of a plan as people write it: a plain loop, evaluated at the plan's looks, stopped by the plan's rules."""

import copy
import functools
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

Batches = Iterator[tuple[Tensor, Tensor]]
Split = tuple[Tensor, Tensor]
Run = dict[str, Any]


def train(folder: str, loop: str, run: Run) -> dict[str, Any]:
    """Train one run and return its batch size, steps, seconds, ending and last validation accuracy.

    Args:
        folder: What `sweep.export` has written: splits.npz, model.pt.
        loop: "dataloader" or "indexing".
        run: Batch size, learning rate, seed, steps, and the steps to look after.
    """
    started = time.perf_counter()
    splits, model = _material(folder)
    torch.manual_seed(run["seed"])  # noqa: TID251  what people write
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()
    optimizer = torch.optim.SGD(model.parameters(), lr=run["learning_rate"])
    looks, curve = frozenset(run["looks"]), [_evaluate(model, splits)]
    steps, ending = 0, "BUDGET"
    for inputs, targets in LOOPS[loop](*splits["train"], run["batch_size"]):
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        steps += 1
        is_finite = math.isfinite(loss.item())
        if is_finite and (steps in looks or steps == run["steps"]):
            curve.append(_evaluate(model, splits))
            is_finite = math.isfinite(curve[-1]["train_loss"])
        if not is_finite:
            ending = "DIVERGED"
        if not is_finite or steps == run["steps"]:
            break
    seconds = time.perf_counter() - started
    last = curve[-1].get("validation_accuracy", curve[-1]["test_accuracy"])
    return {"batch_size": run["batch_size"], "steps": steps, "seconds": seconds, "ending": ending, "accuracy": last}


def dataloader(inputs: Tensor, targets: Tensor, batch_size: int) -> Batches:
    """Yield batches from a DataLoader, epoch after epoch."""
    loader = DataLoader(TensorDataset(inputs, targets), batch_size, shuffle=True, drop_last=True)
    while True:
        yield from loader


def indexing(inputs: Tensor, targets: Tensor, batch_size: int) -> Batches:
    """Yield batches by indexing with a fresh order, epoch after epoch."""
    while True:
        order = torch.randperm(len(inputs))
        for start in range(0, len(inputs) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            yield inputs[chosen], targets[chosen]


LOOPS: dict[str, Callable[[Tensor, Tensor, int], Batches]] = {"dataloader": dataloader, "indexing": indexing}


@functools.cache
def _material(folder: str) -> tuple[dict[str, Split], nn.Module]:
    torch.set_num_threads(1)
    with np.load(Path(folder) / "splits.npz") as arrays:
        parts = {name: torch.from_numpy(array) for name, array in arrays.items()}
    names = {name.rsplit(" ", 1)[0] for name in parts}
    splits = {name: (parts[f"{name} inputs"], parts[f"{name} targets"]) for name in names}
    return splits, torch.load(Path(folder) / "model.pt", weights_only=False)


@torch.no_grad()
def _evaluate(model: nn.Module, splits: dict[str, Split]) -> dict[str, float]:
    model.eval()
    found: dict[str, float] = {}
    for name, (inputs, targets) in splits.items():
        if name == "train":  # "train look" is what is evaluated of it
            continue
        outputs = model(inputs)
        split = name.removesuffix(" look")
        found[f"{split}_loss"] = cross_entropy(outputs, targets).item()
        found[f"{split}_accuracy"] = (outputs.argmax(-1) == targets).float().mean().item()
    model.train()
    return found
