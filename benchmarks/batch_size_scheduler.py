"""What a batch size that changes costs: sampler and scheduler beside torch's own sampler, and a step in pieces beside a plain one.

python -m benchmarks.batch_size_scheduler
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

import critbatch as cb

EXAMPLES, REPEATS, BATCH = 16_384, 7, 64


def network(width: int) -> torch.nn.Module:
    """Return a perceptron for 784 inputs."""
    return torch.nn.Sequential(torch.nn.Linear(784, width), torch.nn.ReLU(), torch.nn.Linear(width, 10))


def epoch_seconds(data: TensorDataset, width: int, *, is_changing: bool) -> float:
    """Return the seconds of a step over one epoch."""
    model = network(width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    batches = cb.VariableBatchSampler(data, BATCH)
    scheduler = cb.BatchSizeScheduler(batches, cb.Ramp(examples=(10**9,)), optimizer) if is_changing else None
    sampler = batches if is_changing else BatchSampler(RandomSampler(data), BATCH, drop_last=False)
    started, steps = time.perf_counter(), 0
    for inputs, targets in DataLoader(data, batch_sampler=sampler):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        steps += 1
    return (time.perf_counter() - started) / steps


def own_seconds() -> float:
    """Return the seconds that drawing a batch and `scheduler.step()` take by themselves, less torch's own drawing."""
    times = []
    for _ in range(REPEATS):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
        batches = cb.VariableBatchSampler(EXAMPLES, BATCH)
        scheduler = cb.BatchSizeScheduler(batches, cb.Ramp(examples=(10**9,)), optimizer)
        started = time.perf_counter()
        for _ in batches:
            scheduler.step()
        ours = time.perf_counter() - started
        started = time.perf_counter()
        for _ in BatchSampler(RandomSampler(range(EXAMPLES)), BATCH, drop_last=False):
            pass
        times.append((ours - (time.perf_counter() - started)) / (EXAMPLES / BATCH))
    return statistics.median(times)


def piece_seconds(width: int, pieces: int, *, is_effective: bool) -> float:
    """Return the seconds of a step on a batch of 512, in so many pieces, with EffectiveBatch or a loop by hand."""
    model = network(width)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    batch = torch.randn(512, 784), torch.zeros(512, dtype=torch.long)

    def summed(module: torch.nn.Module, part: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return F.cross_entropy(module(part[0]), part[1], reduction="sum")

    effective = cb.EffectiveBatch(model, optimizer, loss=summed, micro_batch_size=512 // pieces)

    def by_hand() -> None:
        optimizer.zero_grad()
        for part in zip(batch[0].chunk(pieces), batch[1].chunk(pieces), strict=True):
            (summed(model, part) / 512).backward()
        optimizer.step()

    step: Callable[[], object] = (lambda: effective.step(batch)) if is_effective else by_hand
    for _ in range(5):
        step()
    started = time.perf_counter()
    for _ in range(30):
        step()
    return (time.perf_counter() - started) / 30


def main() -> None:
    """Write benchmarks/results/batch_size_scheduler.md."""
    torch.set_num_threads(1)
    data = TensorDataset(torch.randn(EXAMPLES, 784), torch.randint(10, (EXAMPLES,)))
    own = own_seconds()
    lines = [
        "# What a changing batch size and a step in pieces cost",
        "",
        f"`python -m benchmarks.batch_size_scheduler`; one thread, medians of {REPEATS} interleaved repeats, batch size {BATCH}.",
        "",
        f"Sampler and `scheduler.step()` by themselves, less what torch's own sampler takes: {1e6 * own:.2f} us a step.",
        "",
        "| perceptron 784-w-10, DataLoader | plain step | with the scheduler | ratio | scheduler's own share of a step |",
        "|---|---|---|---|---|",
    ]
    for width in (128, 1024):
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(REPEATS):
            for kind in times:
                times[kind].append(epoch_seconds(data, width, is_changing=kind))
        plain, changing = statistics.median(times[False]), statistics.median(times[True])
        lines.append(
            f"| w = {width} | {1e6 * plain:.0f} us | {1e6 * changing:.0f} us | {changing / plain:.3f} | {own / plain:+.2%} |"
        )
    lines += ["", "| batch of 512 in pieces | by hand | EffectiveBatch | ratio |", "|---|---|---|---|"]
    for pieces in (1, 8):
        found: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(REPEATS):
            for kind in found:
                found[kind].append(piece_seconds(1024, pieces, is_effective=kind))
        hand, ours = statistics.median(found[False]), statistics.median(found[True])
        lines.append(f"| {pieces} | {1e3 * hand:.2f} ms | {1e3 * ours:.2f} ms | {ours / hand:.3f} |")
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "results" / "batch_size_scheduler.md").write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
