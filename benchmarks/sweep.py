"""Whole commands: ours beside the same plan driven in other ways; how time and memory grow with runs and workers."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from critbatch.study import versions

from .asking import FORCED_KERNELS, ONE_THREAD, own_python, tell
from .exporting import estimated, export
from .facts import facts
from .table import markdown
from .watching import Watched, watch

COMMANDS = {
    "demo": ("demo",),
    "fashion": ("run", "fashion_mlp", "--batch-sizes", "32,128,512", "--seeds", "3", "--steps", "300", "--epochs", "1"),
}
QUICK = {
    "demo": ("run", "digits", "--batch-sizes", "16,256", "--learning-rates", "0.1,0.5", "--seeds", "2", "--steps", "50",
             "--epochs", "1"),
    "fashion": ("run", "fashion_mlp", "--batch-sizes", "128,512", "--learning-rates", "0.1", "--seeds", "2", "--steps",
                "20", "--epochs", "0.1"),
}  # fmt: skip
DRIVERS = {
    "DataLoader loop in processes": ("processes", "dataloader"),
    "indexing loop in processes": ("processes", "indexing"),
    "joblib, indexing loop": ("joblib", "indexing"),
    "Optuna, indexing loop": ("optuna", "indexing"),
}
RATES = "0.03,0.06,0.12,0.25,0.5"
MOST_MEMORY = 2 * 2**30
MOST_GROWTH = 10.5
LEAST_SPEED_UP = 1.7


def run(chosen: argparse.Namespace, out: Path) -> None:
    """Carry out what the command line asks for and write sweep-NAME.json and sweep-NAME.md to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if chosen.what in COMMANDS:
            document, text = compare(chosen, Path(folder))
        elif chosen.what == "linear":
            document, text = linear(chosen, Path(folder))
        else:
            document, text = workers(chosen, Path(folder))
    machine = facts(versions())
    document = {"schema_version": 1, "machine": machine, **document}
    where = f"{machine['processor']}, {machine['cores']} cores; {machine['date']}."
    (out / f"sweep-{chosen.what}.json").write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    (out / f"sweep-{chosen.what}.md").write_text(f"{text[0]}\n\n{where} {text[1]}\n\n{text[2]}\n", "utf-8")
    tell(f"Written to {out}: sweep-{chosen.what}.json, sweep-{chosen.what}.md")


Text = tuple[str, str, str]  # heading, what was done, table


def compare(chosen: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Text]:
    """Time our command with a cold and a warm compile cache, and the plan that it carried out with other drivers.

    Raises:
        ValueError: If the fraction or a driver cannot be used.
    """
    drivers = {name: how for name, how in DRIVERS.items() if not chosen.drivers or how[0] in chosen.drivers.split(",")}
    if not 0 < chosen.fraction <= 1 or not drivers:
        known = ", ".join(dict.fromkeys(how[0] for how in DRIVERS.values()))
        raise ValueError(f"`--fraction {chosen.fraction} --drivers {chosen.drivers}`: use 0 to 1, and some of {known}.")
    command = [*(QUICK if chosen.quick else COMMANDS)[chosen.what], "--workers", str(chosen.workers)]
    timings: list[dict[str, Any]] = []
    for state in ("cold", "warm"):
        done = ours(command, folder / state, folder / "cache")
        timings.append(_timing(f"critbatch, {state} compile cache", done.seconds, done))
    store = folder / "cold" / "runs.db"
    runs = export(store, folder, fraction=chosen.fraction)
    for name, (driver, loop) in drivers.items():
        tell(f"{name}: {len(runs.chosen)} of {runs.total} runs")
        asked = [str(folder), driver, loop, str(chosen.workers)]
        done = watch([str(own_python()), "-m", "benchmarks.peers.whole_sweep", *asked], _plain_environment())
        found = json.loads(done.said.strip().splitlines()[-1])
        seconds = estimated(runs, found["rows"], done.seconds, chosen.workers)
        timings.append(_timing(name, seconds, done) | {"rows": found["rows"], "trained": len(found["rows"])})
    document = {"command": command, "runs": runs.total, "fraction": chosen.fraction, "timings": timings}
    return document, _compared(document)


def _compared(document: Mapping[str, Any]) -> Text:
    timings = document["timings"]
    is_whole = document["fraction"] == 1
    rows = [
        [
            one["name"] + ("" if is_whole or "trained" not in one else " (estimated)"),
            f"{one['seconds']:.1f}",
            *(f"{one['seconds'] / ours['seconds']:.2g}" for ours in timings[:2]),
            f"{one['largest_bytes'] / 2**20:.0f}",
        ]
        for one in timings
    ]
    note = f"`critbatch {' '.join(document['command'])}`: {document['runs']} runs; wall time of the whole command."
    if not is_whole:
        note += (
            f" The peers trained {document['fraction']:.0%} of the runs of each batch size; their times are **estimated** "
            "by scaling each batch size up."
        )
    head = ["", "seconds", "ours, cold = 1", "ours, warm = 1", "largest process, MiB"]
    return "# A whole sweep", note, markdown(head, rows)


def linear(chosen: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Text]:
    """Time sweeps of 110 and of 1,100 runs (two batch sizes x five learning rates x seeds, and one cell again)."""
    few = 1 if chosen.quick else 10
    timings = [_digits(seeds, chosen.workers, folder) for seeds in (few, 10 * few)]
    growth = timings[1]["seconds"] / timings[0]["seconds"]
    largest = max(one["largest_bytes"] for one in timings)
    rows = [
        [str(one["runs"]), f"{one['seconds']:.1f}", f"{one['largest_bytes'] / 2**20:.0f}", one["largest_process"]]
        for one in timings
    ]
    verdict = (
        f"Ten times the runs took {growth:.2f} times the time (at most {MOST_GROWTH}: {_kept(growth <= MOST_GROWTH)}); "
        f"the largest process used {largest / 2**30:.2f} GiB (at most 2: {_kept(largest <= MOST_MEMORY)}). "
        "Start-up is included; the compile cache was warm."
    )
    table = markdown(["runs", "seconds", "largest process, MiB", "its name"], rows)
    document = {"timings": timings, "growth": growth, "largest_bytes": largest}
    return document, ("# Time and memory against the number of runs", verdict, table)


def workers(chosen: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], Text]:
    """Compare the throughput of two worker processes with one: runs per second beyond those of a small sweep."""
    few, many = (1, 3) if chosen.quick else (4, 40)
    timings = {count: [_digits(seeds, count, folder) for seeds in (few, many)] for count in (1, 2)}
    rates = {
        count: (large["runs"] - small["runs"]) / (large["seconds"] - small["seconds"])
        for count, (small, large) in timings.items()
    }
    speed_up = rates[2] / rates[1]
    rows = [
        [str(count), *(f"{one['seconds']:.1f}" for one in timings[count]), f"{rates[count]:.2f}"] for count in timings
    ]
    verdict = (
        f"Two workers made {speed_up:.2f} times the runs of one in a second (at least {LEAST_SPEED_UP}: "
        f"{_kept(speed_up >= LEAST_SPEED_UP)}). Counted between a small and a large sweep, so that start-up falls out."
    )
    head = ["workers", *(f"seconds, {one['runs']} runs" for one in timings[1]), "runs per second"]
    return {"timings": timings, "speed_up": speed_up}, (
        "# Two worker processes against one",
        verdict,
        markdown(head, rows),
    )


def _digits(seeds: int, count: int, folder: Path) -> dict[str, Any]:
    """Return the timing of a sweep on digits with 11 runs a seed, 100 steps each; a small one first, to fill the cache."""
    cache = folder / "cache"
    command = [
        "run", "digits", "--batch-sizes", "16,64", "--learning-rates", RATES, "--steps", "100", "--epochs", "1",
    ]  # fmt: skip
    if not (folder / "first").exists():
        ours([*command, "--seeds", "1", "--workers", "1"], folder / "first", cache)
    done = ours([*command, "--seeds", str(seeds), "--workers", str(count)], folder / f"{seeds}-{count}", cache)
    return _timing(f"{11 * seeds} runs", done.seconds, done) | {"runs": 11 * seeds, "workers": count}


def ours(command: Sequence[str], out: Path, cache: Path) -> Watched:
    """Run one of our commands with a new folder for its results and `cache` as its compile cache."""
    tell(f"critbatch {' '.join(command)}")
    cache.mkdir(exist_ok=True)
    environment = _plain_environment(threads=False) | {"CRITBATCH_CACHE": str(cache)}
    full = [sys.executable, "-m", "critbatch", *command, "--no-progress", "--out", str(out)]
    done = watch(full, environment)
    tell(f"  {done.seconds:.1f} s; {done.largest[0]} used {done.largest[1] / 2**20:.0f} MiB")
    return done


def _plain_environment(*, threads: bool = True) -> dict[str, str]:
    """Return the environment of this process, with one thread for libraries unless the command sees to it itself."""
    kept = {name: value for name, value in os.environ.items() if name not in FORCED_KERNELS}
    return kept | (ONE_THREAD if threads else {})


def _timing(name: str, seconds: float, done: Watched) -> dict[str, Any]:
    process, size = done.largest
    wall = {"seconds": seconds, "wall_seconds": done.seconds}
    return {"name": name, **wall, "largest_bytes": size, "largest_process": process, "processes": len(done.peaks)}


def _kept(is_kept: bool) -> str:
    return "kept" if is_kept else "**missed**"
