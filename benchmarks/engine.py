"""Time per model update: ours and the peers', interleaved in one run, and the floor of this core."""

import contextlib
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from .asking import Conversation, tell
from .facts import facts
from .figure import draw
from .table import measures, ratios, spread, times
from .workloads import WORKLOADS, Workload

Cell = dict[str, Any]


@final
@dataclass(frozen=True)
class Scope:
    """What is timed, and how often.

    Attributes:
        peers: Names in `asking.PEERS`.
        cases: Workloads and batch sizes.
        repeats: Timings of each, besides the warm-up.
        seconds: Of each timing, about; at least nine updates.
    """

    peers: Sequence[str]
    cases: Sequence[tuple[Workload, int]]
    repeats: int = 7
    seconds: float = 0.3


def cases(names: Sequence[str], batch_sizes: Sequence[int]) -> list[tuple[Workload, int]]:
    """Return the workloads of these names at these batch sizes; empty lists stand for all.

    Raises:
        ValueError: If nothing is left.
    """
    unknown = [name for name in names if name not in WORKLOADS]
    chosen = [WORKLOADS[name] for name in names or WORKLOADS if name in WORKLOADS]
    found = [(one, size) for one in chosen for size in one.batch_sizes if not batch_sizes or size in batch_sizes]
    if unknown or not found:
        raise ValueError(f"`--workloads`, `--batch-sizes`: nothing to time. Workloads are {', '.join(WORKLOADS)}.")
    return found


def run(scope: Scope, out: Path) -> None:
    """Time everything in `scope`, and write engine.json, engine.md, engine.png and engine.svg to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {"schema_version": 1, "repeats": scope.repeats, "seconds": scope.seconds}
    cells: list[Cell] = []
    with contextlib.ExitStack() as stack:
        logs = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        talks = [stack.enter_context(Conversation(name, logs / name)) for name in ("rates", *scope.peers)]
        versions = {name: number for talk in talks for name, number in talk.versions.items()}
        document["machine"] = facts(versions)
        for workload, batch_size in scope.cases:
            tell(f"{workload.title}, batch size {batch_size}")
            cells += _cells(scope, talks, workload, batch_size)
    document["cells"] = [cell for cell in cells if cell["peer"] != "rates"]
    document["floors"] = _floors(scope, cells)
    (out / "engine.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    redraw(out)


def redraw(out: Path) -> None:
    """Write the tables and the figure of the engine.json in `out` again."""
    document = json.loads((out / "engine.json").read_text("utf-8"))
    machine = document["machine"]
    parts = [
        "# Time per model update",
        f"{machine['processor']}, {machine['cores']} cores, one thread each; {machine['date']}. Medians of "
        f"{document['repeats']} interleaved repeats of about {document['seconds']} s. {spread(document)}",
        "Versions: " + ", ".join(f"{name} {number}" for name, number in machine["versions"].items()) + ".",
        "## Microseconds per model update",
        times(document),
        "M: models trained together, the fastest of those tried. How the floor is computed: ../README.md.",
        "## Time of the peers, ours = 1",
        ratios(document),
        "## What was promised",
        measures(document),
    ]
    (out / "engine.md").write_text("\n\n".join(parts) + "\n", "utf-8")
    draw(document, out)
    tell(f"Written to {out}: engine.json, engine.md, engine.png, engine.svg")


def _cells(scope: Scope, talks: Sequence[Conversation], workload: Workload, batch_size: int) -> Iterator[Cell]:
    asked = {"workload": workload.name, "batch_size": batch_size, "seconds": scope.seconds}
    under_way: list[tuple[Conversation, Cell]] = []
    for talk in talks:
        for variant in talk.variants:
            said = talk.ask(variant=variant, repeat=0, **asked)
            cell = {"peer": talk.name, "variant": variant, **asked, "title": workload.title, **said, "repeats": []}
            tell(f"  {variant}: {said.get('unsupported') or _warm(said)}")
            under_way.append((talk, cell))
    for repeat in range(1, scope.repeats + 1):
        for talk, cell in under_way:
            if "unsupported" not in cell:
                said = talk.ask(variant=cell["variant"], repeat=repeat, **asked)
                cell["updates"] = said.get("updates")
                if "unsupported" in said:
                    cell["unsupported"] = said["unsupported"]
                else:
                    cell["repeats"].append(said["seconds_per_update"])
    for _, cell in under_way:
        if "unsupported" not in cell:
            cell["median"] = statistics.median(cell["repeats"])
            if cell["peer"] != "rates":
                tell(f"  {cell['variant']}: {1e6 * cell['median']:.1f} us")
        yield cell


def _warm(said: dict[str, Any]) -> str:
    return f"ready after {said['compile_seconds']:.1f} s {said['detail']}".rstrip()


def _floors(scope: Scope, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return the floor of each case; a rate is the best that was seen in the whole run."""
    seen = {
        name: [one for cell in cells if cell["variant"] == name for one in cell["repeats"]]
        for name in ("gemm", "triad")
    }
    flop, byte = min(seen["gemm"]), min(seen["triad"])
    return [
        {
            "workload": workload.name, "batch_size": size, "flops_per_second": 1 / flop, "bytes_per_second": 1 / byte,
            "seconds": max(workload.flops(size) * flop, workload.traffic() * byte),
        }
        for workload, size in scope.cases
    ]  # fmt: skip
