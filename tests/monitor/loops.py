"""Small trainings by hand, with and without a monitor."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from critbatch.monitor import GradientNoiseMonitor

Batch = tuple[Tensor, Tensor]


def perceptron(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def batches(count: int, size: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Batch]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        inputs = torch.randn(size, 6, generator=generator, dtype=torch.float64)
        found.append((inputs.to(dtype), torch.randint(3, (size,), generator=generator)))
    return found


def parts_of_batch(batch: Batch, parts: list[int]) -> Iterator[Batch]:
    yield from zip(batch[0].split(parts), batch[1].split(parts), strict=True)


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, some: list[Batch], *, parts: list[int] | None = None,
    reduction: str = "mean", clip: float | None = None, monitor: GradientNoiseMonitor | None = None,
) -> list[Tensor]:  # fmt: skip
    """Train; return the flat parameters before each step."""
    seen = []
    for batch in some:
        seen.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone())
        optimizer.zero_grad()
        pieces = list(parts_of_batch(batch, parts or [len(batch[0])]))
        for inputs, targets in pieces:
            losses = F.cross_entropy(model(inputs), targets, reduction="none")
            divisor = {
                "mean": len(inputs), "mean_over_steps": len(inputs) * len(pieces), "share": len(batch[0]), "sum": 1
            }[reduction]  # fmt: skip
            (losses.sum() / divisor).backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return seen


def gradients_at(model: nn.Module, flat: Tensor, pieces: list[Batch]) -> Tensor:
    """Return the mean gradient of each piece at these parameters: the naive twin's input."""
    twin = perceptron(dtype=flat.dtype)
    torch.nn.utils.vector_to_parameters(flat, twin.parameters())
    rows = []
    for inputs, targets in pieces:
        loss = F.cross_entropy(twin(inputs), targets)
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(twin.parameters()))]))
    return torch.stack(rows)


Make = Callable[[nn.Module], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Make] = {
    "SGD": lambda model: torch.optim.SGD(model.parameters(), 0.1),
    "momentum": lambda model: torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "Adam": lambda model: torch.optim.Adam(model.parameters(), 0.01),
    "AdamW": lambda model: torch.optim.AdamW(model.parameters(), 0.01, weight_decay=0.1),
    "RMSprop": lambda model: torch.optim.RMSprop(model.parameters(), 0.01),
}


def options(**named: Any) -> dict[str, Any]:
    return named
