"""Print docs/cli.md: every command of critbatch as it describes itself. `make docs` writes the file."""

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

HEAD = """# Commands

Made by `make docs` from the program itself: edit the descriptions there.

Results go to the standard output, progress to the standard error. Exit codes: 0 ok; 1 a run failed; 2 usage; 3 finished
but the data cannot carry an answer; 130 interrupted, after what was finished has been kept.
"""


def page(app: typer.Typer, name: str = "critbatch") -> str:
    """Return the page for all commands of `app`, sorted by name."""
    sections = ["\n".join(section(command, path)) for path, command in commands(get_command(app), name)]
    return "\n".join([HEAD, *sections])


def commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield what a user can type with the command behind it; a group itself only where it has options of its own."""
    if not isinstance(command, TyperGroup):
        yield path, command
        return
    if any(option_rows(command, path)):
        yield path, command
    for name in sorted(command.commands):
        if not command.commands[name].hidden:
            yield from commands(command.commands[name], f"{path} {name}")


def section(command: Any, path: str) -> Iterator[str]:
    """Yield the lines of one command: what it does, how it is called, and its options."""
    yield f"## `{path}`\n"
    if command.help:
        yield inspect.cleandoc(command.help).split("\f")[0].strip() + "\n"
    context = typer.Context(command, info_name=path)
    yield f"```\n{path} {' '.join(command.collect_usage_pieces(context))}\n```\n"
    rows = list(option_rows(command, path))
    if rows:
        yield "| | |\n|---|---|"
        yield from (f"| `{cell(name)}` | {cell(text)} |" for name, text in rows)
        yield ""


def option_rows(command: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield name and help of each argument and option, without those that complete shells."""
    context = typer.Context(command, info_name=path)
    for parameter in command.params:
        record = None if "completion" in (parameter.name or "") else parameter.get_help_record(context)
        if record is not None:
            yield record


def cell(text: str) -> str:
    """Return `text` so that it fits into one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    from critbatch.cli import app

    sys.stdout.write(page(app))
