"""What all commands share at the terminal: exit codes, options, output, and orderly endings."""

import contextlib
import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from .job import Result
    from .task import Task

CORES = os.cpu_count() or 1
OK, FAILED, USAGE, NO_ANSWER, INTERRUPTED = 0, 1, 2, 3, 130

Device = Annotated[str, typer.Option(help="As torch spells it: cpu, cuda, cuda:1.")]
EngineName = Annotated[str, typer.Option(help="auto, population (compiled) or sequential (the plain loop).")]
ExecutorName = Annotated[str, typer.Option(help="serial or processes.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes of one thread each.", show_default="number of cores")]
StoreUrl = Annotated[str, typer.Option(help="Where runs are kept: a path or a database URL. Default: OUT/runs.db.")]
Out = Annotated[Path | None, typer.Option(help="Folder for result.json, report.html and runs.db.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of the screen.")]
Quiet = Annotated[bool, typer.Option("--no-progress", "-q", help="No progress bar.")]


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document with sorted keys."""
    typer.echo(json.dumps({"schema_version": 1} | document, indent=2, sort_keys=True, allow_nan=False))


def command_line() -> str:
    """Return the command that is running, as it would be typed again."""
    return shlex.join(["critbatch", *sys.argv[1:]])


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """Turn errors into one line on stderr and the right exit code; CRITBATCH_DEBUG=1 shows where they came from."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill is a Ctrl-C
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\nStopped; every finished run is kept. Go on with:\n  {command_line()}", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (ValueError, TypeError, OSError) as error:
        if os.environ.get("CRITBATCH_DEBUG"):
            raise
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(USAGE) from None


def print_plan(task: "Task", options: dict[str, Any], workers: int, *, as_json: bool) -> None:
    """Print how many runs the plan has and about how long they take."""
    from .job import make_design
    from .study import expectation

    device, engine = options.pop("device"), options.pop("engine")
    document = expectation(task, make_design(task, **options), device, workers, engine)
    if as_json:
        print_json(document)
        return
    typer.echo(
        f"{document['task']}: batch sizes {', '.join(map(str, document['batch_sizes']))}; {document['runs']} runs (up "
        f"to {document['most_runs']} if brackets have to be extended), about {document['seconds'] / 60:.1f} minutes in "
        f"{workers} processes"
    )
    for one in document["engine"]:
        why = f" ({one['reason']})" if one["reason"] else ""
        typer.echo(
            f"  batch size {one['batch_size']}: {one['tier']} engine, {1e6 * one['step_seconds']:.3g} us a step of one "
            f"run; plain loop {1e6 * one['plain_step_seconds']:.3g} us{why}"
        )


def finish(found: "Result", folder: Path | None, *, as_json: bool) -> None:
    """Write the report if there is a folder for it, print the answer, and leave with the exit code that it deserves."""
    from rich.console import Console

    from .job import write_page
    from .screen import show

    page = None if folder is None else write_page(found, folder / "report.html")
    if as_json:
        print_json(found.to_json())
    else:
        show(found.finding, Console())
        typer.echo(f"Report: {page}" if page else "No report: give --out FOLDER for one.")
    if found.finding.endings["FAILED"]:
        raise typer.Exit(FAILED)
    raise typer.Exit(OK if found.recommendation else NO_ANSWER)
