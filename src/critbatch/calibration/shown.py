"""The checks on one screen of a terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..estimate import short
from .check import Check


def show_checks(checks: Sequence[Check], console: Console) -> None:
    """Print a table of truth, estimate, interval and verdict, and how many checks passed."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
    for name in ("", "check", "truth", "found", "of"):
        table.add_column(name, justify="left" if name in ("", "check") else "right")
    for one in checks:
        mark = "[green]ok[/green]" if one.passed else "[bold red]FAIL[/bold red]"
        spread = "" if one.low == one.high else f"\n[dim]{short(one.low)}–{short(one.high)}[/dim]"
        words = f"{escape(one.name)}\n[dim]{escape(one.detail)}[/dim]"
        table.add_row(mark, words, short(one.truth), f"{short(one.estimate)}{spread}", f"{one.count:,}")
    console.print(table)
    failed = [one.name for one in checks if not one.passed]
    verdict = f"[bold red]{len(failed)} failed[/bold red]: {escape('; '.join(failed))}" if failed else "all passed"
    console.print(f"{len(checks)} checks, {verdict}", highlight=False)
