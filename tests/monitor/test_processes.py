"""Several processes on loopback (gloo): the answer is that of one process with all the data."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import multiprocessing as mp
from torch.nn import functional as F

from critbatch.monitor import GradientNoiseMonitor
from critbatch.noise import noise_moments

from .loops import batches, gradients_at, perceptron

SIZE, STEPS = 12, 4


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def shares(
    world: int, batch: tuple[torch.Tensor, torch.Tensor], short: bool
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return each rank's part of a batch; with `short` the last rank has one example only."""
    sizes = [SIZE // world] * world
    if short:
        sizes = [(SIZE - 1) // (world - 1)] * (world - 1)
        sizes += [SIZE - sum(sizes)]
    return list(zip(batch[0].split(sizes), batch[1].split(sizes), strict=True))


Case = tuple[str, int, bool]
CASES: list[Case] = [
    ("DDP", 1, False), ("DDP", 2, False), ("DDP", 1, True), ("DDP examples", 1, False), ("FSDP2", 1, False),
    ("FSDP2", 2, False), ("FSDP2 examples", 1, False), ("FSDP2 without tap", 2, False),
]  # fmt: skip


def wrap(kind: str, model: torch.nn.Module, world: int) -> torch.nn.Module:
    if not kind.startswith("FSDP2"):
        return torch.nn.parallel.DistributedDataParallel(model)
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (world,))
    fully_shard(model[0], mesh=mesh)
    fully_shard(model, mesh=mesh)
    return model


def run(rank: int, world: int, case: Case) -> dict[str, Any]:
    kind, passes, short = case
    model = perceptron()
    wrapped = wrap(kind, model, world)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    unit = "example" if kind.endswith("examples") else "auto"
    monitor = GradientNoiseMonitor(wrapped, optimizer, every=1, reduction="mean_over_steps", unit=unit)
    for batch in batches(STEPS, SIZE * passes):
        optimizer.zero_grad()
        for piece in zip(batch[0].split(SIZE), batch[1].split(SIZE), strict=True):
            inputs, targets = shares(world, piece, short)[rank]
            (F.cross_entropy(wrapped(inputs), targets) / passes).backward()
        optimizer.step()
    found = [
        (one.step, float(one.moments.traces.sum()), float(one.moments.squared_norms.sum()), one.moments.examples)
        for one in monitor.history.measured
    ]
    monitor.close()
    return {"found": found, "messages": monitor.messages, "products": monitor.history.products}


def work(rank: int, world: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    try:
        for i, case in enumerate(CASES):
            if case[0] == "FSDP2 without tap":
                hide_the_tap()
            torch.save(run(rank, world, case), Path(folder) / f"{i}-{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def hide_the_tap() -> None:
    """Pretend to be a PyTorch that keeps its reduce-scatter elsewhere."""
    import torch.distributed.fsdp._fully_shard._fsdp_api as private

    del private.ReduceScatter


def reference(world: int, passes: int, short: bool, examples: bool) -> list[tuple[float, float]]:
    """Return the moments from all parts' gradients in one process, along the same training."""
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    found = []
    for batch in batches(STEPS, SIZE * passes):
        pieces = [
            part for piece in zip(batch[0].split(SIZE), batch[1].split(SIZE), strict=True)
            for part in shares(world, piece, short)
        ]  # fmt: skip
        flat = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        means = gradients_at(model, flat, pieces)
        parts = [(x[i : i + 1], y[i : i + 1]) for x, y in pieces for i in range(len(x))] if examples else pieces
        rows = gradients_at(model, flat, parts)
        sizes = torch.tensor([float(len(x)) for x, _ in parts], dtype=torch.float64)
        trace, norm = noise_moments(rows, sizes)
        if short:  # the gradient is a mean of unequal means: solve the two expectations for it
            weights = torch.tensor([len(x) for x, _ in pieces], dtype=torch.float64)
            seen, spread = means.mean(0).square().sum(), (1 / weights).sum() / len(pieces) ** 2
            within = (weights * means.square().sum(1)).sum() / weights.sum()
            trace = (within - seen) / (len(pieces) / weights.sum() - spread)
            norm = seen - trace * spread
        found.append((float(trace), float(norm)))
        optimizer.zero_grad()
        torch.nn.utils.vector_to_parameters(flat - 0.1 * means.mean(0), model.parameters())
    return found


@pytest.mark.parametrize("world", [2, 4])
def test_moments_equal_those_of_one_process(world: int, tmp_path: Path) -> None:
    mp.spawn(work, (world, free_port(), str(tmp_path)), nprocs=world)
    for i, (kind, passes, short) in enumerate(CASES):
        every = [torch.load(tmp_path / f"{i}-{rank}.pt", weights_only=False) for rank in range(world)]
        whole = kind == "FSDP2 without tap"  # what each backward adds is the mean over all processes
        expected = reference(1 if whole else world, passes, short, kind.endswith("examples"))
        for one in every:
            told = [text for text in one["messages"] if "reduce-scatter" not in text]
            assert not told, kind
            assert bool(one["messages"]) == whole
            assert [row[0] for row in one["found"]] == list(range(1, STEPS)), kind
            for step, trace, norm, examples in one["found"]:
                assert examples == SIZE * passes, kind
                assert trace == pytest.approx(expected[step][0], rel=1e-8), (kind, passes, short)
                assert norm == pytest.approx(expected[step][1], rel=1e-6), (kind, passes, short)
            assert np.array(one["products"]) == pytest.approx(np.array(every[0]["products"])), kind
            assert len(one["products"]) == STEPS - 2, kind
