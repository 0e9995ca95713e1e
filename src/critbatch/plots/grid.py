"""The learning-rate x batch-size grid: test metric or steps to target in every cell."""

import math
from typing import Any

import altair as alt

from . import (
    INK,
    WIDTH,
    Drawing,
    Result,
    Row,
    estimate,
    framed,
    in_percent,
    metric_title,
    number,
    shortened,
    shown,
)

TITLE = "The whole grid: every learning rate at every batch size"
STEPS = "Steps to target"
UNKNOWN = -1.0  # shade of a cell without a value
LIGHT, DARK = "#F1F6FB", "#08519C"  # worse, better
TURN = 0.76  # shade at which black and white text have the same contrast, 4.58


def describe(result: Result) -> str:
    """Return what the chart shows, and what its marks mean."""
    return (
        "Averages over seeds. Darker is better. ★ marks the learning rate chosen for each batch size (by steps to "
        "target, or else on the selection split), ✕ cells in which runs diverged (how many of how many), ○ cells in "
        "which no run reached the target, ◢ the edge of the grid: if the best lies there, a better one may lie outside."
    )


def missing(result: Result) -> str | None:
    """Return why there is no chart, or None if there is one."""
    return None if _cells(result) else "The cells of the grid are not kept in this result."


def chart(result: Result) -> Drawing:
    """Return one grid with a switch between test metric and steps to target."""
    titles = {"metric": metric_title(result), "steps": STEPS}
    picked = alt.param(
        name="grid_quantity", value="metric",
        bind=alt.binding_radio(options=list(titles), labels=list(titles.values()), name="In the cells: "),
    )  # fmt: skip
    layers = _layers(_cells(result)).transform_filter("datum.quantity === grid_quantity").add_params(picked)
    return framed(layers.properties(width="container", height=_height(result)), live=True)


def still(result: Result) -> Drawing:
    """Return two grids, one above the other: test metric, then steps to target."""
    cells = _cells(result)
    panels = [
        _layers([row for row in cells if row["quantity"] == quantity]).properties(
            width=WIDTH - 70,
            height=_height(result),
            title=alt.TitleParams(title, anchor="start", fontSize=12, color=INK),
        )
        for quantity, title in (("metric", metric_title(result)), ("steps", STEPS))
    ]
    return framed(alt.vconcat(*panels, spacing=24), live=False)


def rows(result: Result) -> list[Row]:
    """Return a row for each cell."""
    counts = ("runs", "reached", "diverged", "infeasible", "failed")
    return [
        {
            "batch size": row.get("batch_size"),
            "learning rate": number(row.get("learning_rate")),
            metric_title(result): in_percent(estimate(row, "test_metric"), result),
            "steps to target": estimate(row, "steps_to_target"),
            **{name: row.get(name) for name in counts},
            "marks": ", ".join(name for name in ("best", "edge") if row.get(name)),
        }
        for row in result.get("cells") or []
    ]


def _height(result: Result) -> int:
    return max(120, 32 * len({row["rate"] for row in _cells(result)}))


def _cells(result: Result) -> list[Row]:
    found = [row for row in result.get("cells") or [] if row.get("batch_size") and row.get("learning_rate")]
    higher_is_better = (result.get("task") or {}).get("better") != "below"
    values = {
        "metric": [in_percent(estimate(row, "test_metric"), result) for row in found],
        "steps": [estimate(row, "steps_to_target") for row in found],
    }
    metric = _shades([cell["value"] for cell in values["metric"]], up=higher_is_better)
    steps = _shades([_logarithm(cell["value"]) for cell in values["steps"]], up=False)
    return [
        _cell(row, cell, quantity=quantity, shade=shade)
        for quantity, shades in (("metric", metric), ("steps", steps))
        for row, cell, shade in zip(found, values[quantity], shades, strict=True)
    ]


def _cell(row: Row, cell: Row, *, quantity: str, shade: float | None) -> Row:
    runs, diverged = row.get("runs") or 0, row.get("diverged") or 0
    empty = "○" if quantity == "steps" else "–"
    text = number(cell["value"]) if cell["value"] is not None else "" if diverged else empty
    lines = [f"★ {text}" if row.get("best") else text, f"✕ {diverged}/{runs}" if diverged else ""]
    words = "\n".join(line for line in lines if line)
    return {
        "batch_size": str(row["batch_size"]), "rate": row["learning_rate"], "quantity": quantity,
        "shade": UNKNOWN if shade is None else shade,
        "words": words, "edge": "◢" if row.get("edge") else "", "best": bool(row.get("best")),
        "value": shortened(shown(cell), 200), "runs": runs, "diverged": diverged, "reached": row.get("reached"),
        "method": cell["method"], "definition": cell["definition"],
    }  # fmt: skip


def _logarithm(value: float | None) -> float | None:
    return math.log(value) if value is not None and value > 0 else None


def _shades(values: list[float | None], *, up: bool) -> list[float | None]:
    """Return values between 0 (worst) and 1 (best), by rank and by value in equal parts: outliers hide nothing."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return list(values)
    span, most = (known[-1] - known[0]) or 1.0, max(len(known) - 1, 1)
    shades: list[float | None] = []
    for value in values:
        if value is None:
            shades.append(None)
            continue
        rank = (known.index(value) + len(known) - 1 - known[::-1].index(value)) / 2 / most
        shade = ((value - known[0]) / span + rank) / 2
        shades.append(shade if up else 1 - shade)
    return shades


def _layers(cells: list[Row]) -> alt.LayerChart:
    sizes = sorted({int(row["batch_size"]) for row in cells})
    bare = {"domain": False, "ticks": False, "labelPadding": 6}
    x = alt.X("batch_size:O", sort=[str(size) for size in sizes], title="Batch size (examples per step)",
              axis=alt.Axis(labelAngle=0, **bare))  # fmt: skip
    y = alt.Y("rate:O", sort="descending", title="Learning rate", axis=alt.Axis(format=".3~g", **bare))
    fields = ("batch_size", "rate", "value", "runs", "reached", "diverged", "method", "definition")
    titles = {"batch_size": "batch size", "rate": "learning rate"}
    hints = [alt.Tooltip(field=key, type="nominal", title=titles.get(key, key)) for key in fields]
    base = alt.Chart().encode(x=x, y=y)
    shade = alt.Color("shade:Q", scale=alt.Scale(domain=[0, 1], range=[LIGHT, DARK]), legend=None)
    tiles: Any = base.mark_rect(stroke="white", strokeWidth=2).encode(
        color=alt.condition("datum.shade >= 0", shade, alt.value("#E9EBEE")), tooltip=hints
    )
    best = base.mark_rect(filled=False, stroke="#000000", strokeWidth=2).transform_filter("datum.best")
    ink = alt.condition(f"datum.shade > {TURN}", alt.value("#FFFFFF"), alt.value("#000000"))
    lift = alt.ExprRef("indexof(datum.words, '\\n') > 0 ? -6 : 0")  # the first of two lines stands above the middle
    text = base.mark_text(fontSize=11, lineBreak="\n", lineHeight=12, dy=lift).encode(text="words:N", color=ink)
    right = alt.ExprRef(f"width / {max(len(sizes), 1)} / 2 - 4")
    corners = base.mark_text(fontSize=9, align="right", baseline="bottom", dy=14, dx=right).encode(
        text="edge:N", color=ink
    )
    return alt.LayerChart(layer=[tiles, best, text, corners], data=alt.Data(values=cells))
