"""What all commands share at the terminal: exit codes, options, output, and orderly endings."""

import contextlib
import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

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
