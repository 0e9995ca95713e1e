"""`python -m benchmarks.monitor`: what a measured step of the live monitor costs, beside a plain one and the peers'."""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

import critbatch as cb

from .asking import CONSTRAINTS, HERE, tell
from .facts import facts
from .table import markdown

PEERS = HERE / ".monitor"
REQUIREMENTS = HERE / "requirements-monitor.txt"
SIZES = (32, 128, 1024)
AIMS = {"every=1": {32: 1.5, 128: 1.4, 1024: 1.1}, "every=10": {32: 1.05, 128: 1.05, 1024: 1.05}}
MOST_MEMORY = 1.2
WORDS, LENGTH, WIDTH, HEADS, LAYERS = 65, 32, 64, 4, 4
Step = Callable[[], object]


class Block(nn.Module):
    """Causal attention and a perceptron, each after a LayerNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.projected, self.joined = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return what the next block is given."""
        shape = (len(inputs), LENGTH, 3, HEADS, WIDTH // HEADS)
        query, key, value = self.projected(self.before(inputs)).view(shape).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        inputs = inputs + self.joined(seen.transpose(1, 2).reshape(inputs.shape))
        return inputs + self.down(F.gelu(self.up(self.between(inputs))))


class Transformer(nn.Module):
    """Four blocks over 32 characters."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.Sequential(*[Block() for _ in range(LAYERS)])
        self.norm, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS)

    def forward(self, words: Tensor) -> Tensor:
        """Return logits of shape (example, word, place)."""
        places = torch.arange(LENGTH).expand(words.shape)
        return self.out(self.norm(self.blocks(self.words(words) + self.places(places)))).transpose(1, 2)


def case(kind: str, size: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a model and one batch."""
    draw = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        if kind == "mlp":
            model: nn.Module = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
            return model, torch.randn(size, 784, generator=draw), torch.randint(10, (size,), generator=draw)
        if kind == "cnn":
            model = nn.Sequential(
                nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
                nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 49, 10),
            )  # fmt: skip
            return model, torch.randn(size, 1, 28, 28, generator=draw), torch.randint(10, (size,), generator=draw)
        words = torch.randint(WORDS, (2, size, LENGTH), generator=draw)
        return Transformer(), words[0], words[1]


def plain(kind: str, size: int) -> Step:
    """Return an ordinary training step."""
    model, inputs, targets = case(kind, size)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    return lambda: _train(model, F.cross_entropy, optimizer, inputs, targets)


def ours(kind: str, size: int, **options: Any) -> Step:
    """Return a training step that the monitor watches; `every` says how often it measures."""
    model, inputs, targets = case(kind, size)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    cb.GradientNoiseMonitor(model, optimizer, **options)
    return lambda: _train(model, F.cross_entropy, optimizer, inputs, targets)


def backpack(kind: str, size: int) -> Step:
    """Return a training step with BackPACK's squared norms of single examples' gradients."""
    from backpack import backpack as listening  # pyrefly: ignore[missing-import]
    from backpack import extend  # pyrefly: ignore[missing-import]
    from backpack.extensions import BatchL2Grad  # pyrefly: ignore[missing-import]

    model, inputs, targets = case(kind, size)
    model, loss = extend(model), extend(nn.CrossEntropyLoss())
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)

    def step() -> None:
        with listening(BatchL2Grad()):
            _train(model, loss, optimizer, inputs, targets)

    return step


def opacus(kind: str, size: int) -> Step:
    """Return a training step with the norms that Opacus takes for ghost clipping, without its second backward pass."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping as Ghost  # pyrefly: ignore[missing-import]

    model, inputs, targets = case(kind, size)
    watched = Ghost(model, max_grad_norm=1e9, use_ghost_clipping=True, loss_reduction="mean")
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(watched(inputs), targets).backward()
        watched.get_norm_sample()
        optimizer.step()

    return step


ARMS: dict[str, Callable[[str, int], Step]] = {
    "plain": plain,
    "every=1": lambda kind, size: ours(kind, size, every=1, alignment=False),
    "every=1, alignment": lambda kind, size: ours(kind, size, every=1),
    "every=1, all examples": lambda kind, size: ours(kind, size, every=1, alignment=False, most=None),
    "every=10": lambda kind, size: ours(kind, size, every=10),
    "BackPACK": backpack,
    "Opacus": opacus,
}


def _train(model: nn.Module, loss: Any, optimizer: Any, inputs: Tensor, targets: Tensor) -> None:
    optimizer.zero_grad()
    loss(model(inputs), targets).backward()
    optimizer.step()


def timed(kind: str, size: int, seconds: float) -> dict[str, Any]:
    """Return the median time of each arm's step over a plain one, all taken in turn, or why there is none."""
    steps, why = {}, {}
    for name, prepare in ARMS.items():
        try:
            step = prepare(kind, size)
            for _ in range(12):
                step()
            steps[name] = step
        except Exception as error:  # noqa: BLE001  a peer that cannot is no reason to stop
            why[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    started = time.perf_counter()
    steps["plain"]()
    many = max(1, round(0.02 / (time.perf_counter() - started)))
    found: dict[str, list[float]] = {name: [] for name in steps}
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(found["plain"]) < 7:
        for name, step in steps.items():
            count = -(-many // 10) * 10 if name == "every=10" else many
            started = time.perf_counter()
            for _ in range(count):
                step()
            found[name].append((time.perf_counter() - started) / count)
    base = found["plain"]
    ratios = {n: statistics.median(a / b for a, b in zip(found[n], base, strict=True)) for n in found}
    return {"model": kind, "batch_size": size, "plain_seconds": statistics.median(base), "ratios": ratios, "why": why}


def peak(arm: str, kind: str, size: int) -> int:
    """Return the largest number of bytes that tensors hold during a step: model and batch, and what the step allocates."""
    model, inputs, targets = case(kind, size)
    kept = sum(one.untyped_storage().nbytes() for one in (*model.parameters(), inputs, targets))
    step = ARMS[arm](kind, size)
    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    record: Any = seen.profiler
    events = [one for one in record.kineto_results.events() if one.name() == "[memory]"]
    events.sort(key=lambda one: one.start_ns())
    return kept + max(itertools.accumulate(one.nbytes() for one in events))


def memory(kind: str, size: int) -> dict[str, Any]:
    """Return the peak of a plain and of a measured step."""
    arms = ("plain", "every=1", "every=1, alignment", "every=1, all examples")
    return {"model": kind, "batch_size": size, "bytes": {arm: peak(arm, kind, size) for arm in arms}}


def tables(document: dict[str, Any]) -> str:
    """Return the results in Markdown."""
    arms = [name for name in ARMS if name != "plain"]
    rows = [
        [f"{one['model']}, B = {one['batch_size']}", f"{1e3 * one['plain_seconds']:.2f} ms"]
        + [f"{one['ratios'][arm]:.2f}" if arm in one["ratios"] else "-" for arm in arms]
        for one in document["time"]
    ]
    grown = [
        [f"{one['model']}, B = {one['batch_size']}", f"{one['bytes']['plain'] / 2**20:.1f} MiB"]
        + [f"{one['bytes'][arm] / one['bytes']['plain']:.2f}" for arm in list(one["bytes"])[1:]]
        for one in document["memory"]
    ]
    return "\n\n".join([
        "Time of a training step over a plain one (medians of ratios taken in turn):",
        markdown(["step", "plain", *arms], rows),
        "Largest memory of tensors during a step, model and batch included, over a plain one:",
        markdown(["step", "plain", *list(document["memory"][0]["bytes"])[1:]], grown),
    ])  # fmt: skip


def main() -> None:
    """Time everything and write results/monitor.json and .md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitor", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="Of each case.")
    parser.add_argument("--models", default="mlp,cnn,transformer")
    parser.add_argument("--batch-sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--out", type=Path, default=HERE / "results")
    chosen = parser.parse_args()
    if not PEERS.exists():
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "-c", str(CONSTRAINTS), "--target"]
        subprocess.run([*install, str(PEERS), "-r", str(REQUIREMENTS)], check=True)
    sys.path.append(str(PEERS))
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    cases = [(kind, int(size)) for kind in chosen.models.split(",") for size in chosen.batch_sizes.split(",")]
    document: dict[str, Any] = {"machine": facts({"torch": torch.__version__}), "time": [], "memory": []}
    for kind, size in cases:
        document["time"].append(timed(kind, size, chosen.seconds))
        document["memory"].append(memory(kind, size))
        tell(f"{kind}, B = {size}: {document['time'][-1]['ratios']}")
    document["machine"]["load_after"] = facts({})["load_before"]
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "monitor.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    (chosen.out / "monitor.md").write_text(tables(document) + "\n", "utf-8")


if __name__ == "__main__":
    main()
