"""The page's tables: columns, cells and what the estimates in them are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from ..plots import Result, Row, budgets, estimate, in_percent, metric_title, number, sentence


@final
@dataclass(frozen=True)
class Note:
    """What the estimates of one column are: definition, method, level and the counts that occur."""

    column: str
    definition: str
    method: str
    level: str
    counts: str


@final
@dataclass(frozen=True)
class Table:
    """Columns, one list of cells per row, and a note per column of estimates."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    notes: tuple[Note, ...]


def table(rows: Sequence[Row]) -> Table:
    """Return rows as a table with the columns of the first row."""
    columns = tuple(rows[0]) if rows else ()
    cells = tuple(tuple(row.get(column) for column in columns) for row in rows)
    notes = [note for column in columns for note in _notes(column, [row.get(column) for row in rows])]
    return Table(columns, cells, tuple(notes))


def _notes(column: str, cells: Sequence[Any]) -> list[Note]:
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in cells:
        if isinstance(cell, Mapping) and cell["value"] is not None:
            found.setdefault((str(cell["method"]), level(cell)), []).append(cell)
    notes = []
    for (method, width), known in found.items():
        definitions = list(dict.fromkeys(str(cell["definition"]) for cell in known))
        words = definitions[0] if len(definitions) == 1 else f"For example: {definitions[0]}"
        notes.append(Note(column, words, method, width, _range({cell["count"] for cell in known})))
    return notes


def level(found: Mapping[str, Any]) -> str:
    """Return an estimate's confidence level in words."""
    return f"{100 * found['level']:.3g} % interval"


def _range(counts: set[int]) -> str:
    low, high = min(counts), max(counts)
    return number(low) if low == high else f"{number(low)} to {number(high)}"


def batch_sizes(result: Result) -> Table:
    """Return everything found per batch size."""
    estimates = {
        "best learning rate": "best_learning_rate", "steps to target": "steps_to_target",
        "examples to target": "examples_to_target", "epochs to target": "epochs_to_target",
        "seconds to target": "seconds_to_target", metric_title(result): "test_metric", "train loss": "train_loss",
        "generalization gap": "generalization_gap",
    }  # fmt: skip
    return table(
        [
            {
                "batch size": row.get("batch_size"),
                **{
                    title: in_percent(estimate(row, name), result) if name == "test_metric" else estimate(row, name)
                    for title, name in estimates.items()
                },
                "rate at grid edge": row.get("learning_rate_at_edge"),
                **{title: row.get(title) for title in ("diverged", "censored", "runs")},
            }
            for row in result.get("batch_sizes") or []
        ]
    )


def budget_winners(result: Result) -> Table:
    """Return the best batch size under each budget and amount, with its lead over the runner-up."""
    lead = f"lead in {metric_title(result).lower().replace('(%)', '(percentage points)')}"
    return table(
        [
            {**_winner("held equal", label, winner), lead: in_percent(estimate(winner, "advantage"), result)}
            for label, winner in ((label, reading.get("winner") or {}) for label, reading in budgets.readings(result))
        ]
    )


def target_winners(result: Result) -> Table:
    """Return the batch size that needs the fewest steps, examples and seconds to the target, with its lead."""
    return table(
        [
            {**_winner("fewest", str(unit), winner), "lead (ratio)": estimate(winner, "advantage")}
            for unit, winner in (result.get("target_winners") or {}).items()
        ]
    )


def _winner(title: str, label: str, winner: Mapping[str, Any]) -> Row:
    return {
        title: label,
        "best batch size": winner.get("batch_size") or "none",
        "runner-up": winner.get("runner_up") or "none",
        "tied with the best": ", ".join(map(number, winner.get("tied") or [])) or "none",
        "in words": sentence(winner.get("words") or ""),
    }
