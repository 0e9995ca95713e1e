"""`python -m benchmarks.curvature`: what the largest eigenvalue of the Hessian costs, in plain training steps."""

import argparse
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
from torch import Tensor
from torch.nn import functional as F

from critbatch.minima.lanczos import lanczos
from critbatch.minima.surface import Surface

from .asking import CONSTRAINTS, HERE, tell
from .facts import facts
from .monitor import case, plain
from .table import markdown

PEERS = HERE / ".curvature"
REQUIREMENTS = HERE / "requirements-curvature.txt"
SIZES = (128, 1024)
PRODUCTS = 20
AIM = 25.0  # plain steps for 20 products and what Lanczos' method does with them
PEERS_UP_TO = 128  # beyond, they take minutes
SLOW = 20.0  # seconds, from which on the first time counts: it is not the machine that has to warm up
Work = Callable[[], float]


def surface(kind: str, size: int) -> Surface:
    """Return the loss surface of one batch."""
    model, inputs, targets = case(kind, size)
    return Surface(model, losses, inputs, targets)


def losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the cross-entropy of each example; the mean over the places of a sequence."""
    values = F.cross_entropy(outputs, targets, reduction="none")
    return values if values.ndim == 1 else values.mean(1)


def ours(kind: str, size: int) -> Work:
    """Return 20 steps of Lanczos' method, the graph made anew each time."""
    fixed = surface(kind, size)
    draw = torch.Generator()
    return lambda: float(lanczos(fixed.hessian(), draw.manual_seed(0), steps=PRODUCTS, tolerance=0).values[0])


def products(kind: str, size: int) -> Work:
    """Return 20 products, the graph kept from before."""
    matrix = surface(kind, size).hessian()
    vector = torch.randn(matrix.size, generator=torch.Generator().manual_seed(0))
    return lambda: float(torch.stack([(matrix @ vector)[0] for _ in range(PRODUCTS)]).sum())


def pyhessian(kind: str, size: int) -> Work:
    """Return 20 power iterations of PyHessian."""
    from pyhessian import hessian  # pyrefly: ignore[missing-import]

    model, inputs, targets = case(kind, size)
    return lambda: hessian(model, F.cross_entropy, (inputs, targets), cuda=False).eigenvalues(PRODUCTS, tol=0)[0][0]


def eigenthings(kind: str, size: int) -> Work:
    """Return 20 steps of hessian-eigenthings' Lanczos."""
    from hessian_eigenthings import HessianOperator  # pyrefly: ignore[missing-import]
    from hessian_eigenthings import lanczos as theirs  # pyrefly: ignore[missing-import]

    model, inputs, targets = case(kind, size)
    operator = HessianOperator(model, [(inputs, targets)], lambda net, batch: F.cross_entropy(net(batch[0]), batch[1]))
    return lambda: float(theirs(operator, k=1, max_iter=PRODUCTS, tol=0.0, which="LA").eigenvalues[0])


def curvlinops(kind: str, size: int) -> Work:
    """Return 20 products of curvlinops."""
    from curvlinops import HessianLinearOperator  # pyrefly: ignore[missing-import]

    model, inputs, targets = case(kind, size)
    operator = HessianLinearOperator(
        model,
        torch.nn.CrossEntropyLoss(),
        list(model.parameters()),
        [(inputs, targets)],
        check_deterministic=False,
    )
    vector = torch.randn(operator.shape[1], generator=torch.Generator().manual_seed(0))
    return lambda: float(torch.stack([(operator @ vector)[0] for _ in range(PRODUCTS)]).sum())


OURS: dict[str, Callable[[str, int], Work]] = {"Lanczos, 20 products": ours, "20 products": products}
THEIRS: dict[str, Callable[[str, int], Work]] = {
    "PyHessian, 20 power iterations": pyhessian, "hessian-eigenthings, Lanczos, 20": eigenthings,
    "curvlinops, 20 products": curvlinops,
}  # fmt: skip


def timed(kind: str, size: int, rounds: int) -> dict[str, Any]:
    """Return the processor time of each arm in plain steps, all taken in turn, or why there is none."""
    arms, why = {}, {}
    for name, prepare in (OURS | (THEIRS if size <= PEERS_UP_TO else {})).items():
        try:
            arms[name] = prepare(kind, size)
        except Exception as error:  # noqa: BLE001  a peer that cannot is no reason to stop
            why[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    step = plain(kind, size)
    for _ in range(5):
        step()
    many = max(2, round(0.2 / _seconds(step)))
    found: dict[str, list[float]] = {name: [] for name in arms}
    values, steps = {}, []
    for turn in range(rounds + 1):
        for name in [one for one in arms if one not in why]:
            before = _seconds(lambda: [step() for _ in range(many)]) / many
            try:
                spent = _seconds(lambda name=name: values.update({name: arms[name]()}))
            except Exception as error:  # noqa: BLE001  as above
                why[name] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
                continue
            after = _seconds(lambda: [step() for _ in range(many)]) / many
            if (turn or spent > SLOW) and len(found[name]) < rounds:
                found[name].append(2 * spent / (before + after))
                steps += [before, after]
    exact = lanczos(surface(kind, size).hessian(), torch.Generator().manual_seed(1), tolerance=1e-4)
    return {
        "model": kind, "batch_size": size, "parameters": surface(kind, size).size, "step_seconds": statistics.median(steps),
        "ratios": {name: some for name, some in found.items() if some}, "why": why,
        "eigenvalue": float(exact.values[0]), "products": exact.products, "converged": exact.converged,
        "error_of_20": abs(values[next(iter(OURS))] / float(exact.values[0]) - 1),
    }  # fmt: skip


def _seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def tables(document: dict[str, Any]) -> str:
    """Return the results in Markdown."""
    arms, rows = [*OURS, *THEIRS], []
    for one in document["cases"]:
        medians = {name: statistics.median(values) for name, values in one["ratios"].items()}
        kept = "kept" if medians[arms[0]] <= AIM else "**missed**"
        cells = [f"{medians[name]:.1f}" if name in medians else "-" for name in arms]
        label = f"{one['model']}, B = {one['batch_size']}"
        rows.append([label, f"{1e3 * one['step_seconds']:.2f} ms", *cells, kept, f"{one['error_of_20']:.0e}"])
    machine = document["machine"]
    why = {f"{name}: {text}" for one in document["cases"] for name, text in one["why"].items()}
    return "\n\n".join([
        f"{machine['processor']}, one thread; {machine['date']}; torch {machine['versions']['torch']}.",
        "Processor time in plain training steps on the same batch, taken in turn with them (medians). The last column is "
        "the relative error of our eigenvalue after 20 products.",
        markdown(["case", "plain step", *arms, f"at most {AIM:g}", "error"], rows),
        *sorted(why),
    ])  # fmt: skip


def main() -> None:
    """Time what is asked for; write results/curvature.json and .md, in which cases that were not asked for stay."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curvature", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
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
    chosen.out.mkdir(parents=True, exist_ok=True)
    file = chosen.out / "curvature.json"
    known = json.loads(file.read_text("utf-8"))["cases"] if file.exists() else []
    cases = {(one["model"], one["batch_size"]): one for one in known}
    for kind in chosen.models.split(","):
        for size in map(int, chosen.batch_sizes.split(",")):
            cases[kind, size] = timed(kind, size, chosen.rounds)
            tell(f"{kind}, B = {size}: {cases[kind, size]}")
    document = {"machine": facts({"torch": torch.__version__}), "cases": [cases[key] for key in sorted(cases)]}
    file.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    (chosen.out / "curvature.md").write_text(tables(document) + "\n", "utf-8")


if __name__ == "__main__":
    main()
