"""Test metric against batch size, read under each budget."""

from collections.abc import Iterator
from typing import Any

import altair as alt

from . import (
    BLACK,
    BLUE,
    CUT,
    GRAY,
    INK,
    ORANGE,
    Drawing,
    Result,
    Row,
    batch_size_axis,
    batch_sizes,
    cut,
    estimate,
    framed,
    in_percent,
    metric_is_fraction,
    metric_title,
    number,
    point,
    shortened,
    tooltip,
)

TITLE = "Which batch size is best depends on what is held equal"
ORDER = ("epochs", "updates", "examples", "seconds", "convergence", "target")
PANELS = 18  # small multiples that can still be read
STATES = {"best": (ORANGE, "diamond"), "tied with the best": (BLUE, "circle"), "behind": (GRAY, "square"),
          "not compared": (BLACK, "cross")}  # fmt: skip


def describe(result: Result) -> str:
    """Return what the chart shows."""
    text = (
        "The same runs, compared in several ways. Each batch size uses the learning rate that is best under the budget "
        "shown. Bars are intervals; the best batch size and those not distinguishable from it are marked. Vertical "
        "scales differ between budgets. "
        f"{CUT}"
    )
    return text + (" Of each budget, a few amounts are drawn; the table has all." if _crowded(result) else "")


def missing(result: Result) -> str | None:
    """Return why there is no chart, or None if there is one."""
    return None if _points(result) else "No batch size has a test metric under any budget."


def chart(result: Result) -> Drawing:
    """Return one panel with a selector of the budget."""
    points = _points(result)
    labels = list(dict.fromkeys(row["reading"] for row in points))
    picked = alt.param(
        name="budget_reading",
        value=_first(result, labels),
        bind=alt.binding_select(options=labels, name="Held equal: "),
    )
    layers = _layers(result, points).transform_filter("datum.reading === budget_reading").add_params(picked)
    return framed(layers.properties(width="container", height=280), live=True)


def still(result: Result) -> Drawing:
    """Return one small panel per budget and amount."""
    points = _points(result)
    labels = list(dict.fromkeys(row["reading"] for row in points))
    if _crowded(result):
        labels = [
            label for group in _groups(result) for label in dict.fromkeys((group[0], group[len(group) // 2], group[-1]))
        ]
    points = [row for row in points if row["reading"] in labels]
    header = alt.Header(title=None, labelAnchor="start", labelFontWeight="bold", labelPadding=8)
    panels = _layers(result, points, small=True).properties(width=190, height=120)
    facet = alt.Facet(field="reading", type="nominal", sort=labels, header=header)
    faceted = panels.facet(facet=facet, columns=3, spacing={"row": 54, "column": 48}, bounds="flush")
    axes = f"{metric_title(result)} against batch size (examples per step)"
    faceted = faceted.properties(
        title=alt.TitleParams(axes, anchor="start", fontSize=12, fontWeight="normal", color=INK)
    )
    return framed(faceted.resolve_scale(y="independent").resolve_axis(x="independent"), live=False)


def rows(result: Result) -> list[Row]:
    """Return a row for each budget, amount and batch size."""
    return [
        {
            "budget": label,
            "batch size": row.get("batch_size"),
            "learning rate": number(row.get("learning_rate")),
            metric_title(result): in_percent(estimate(row, "test_metric"), result),
            "train loss": estimate(row, "train_loss"),
            "standing": _state(row, reading),
        }
        for label, reading in readings(result)
        for row in reading.get("rows") or []
    ]


def label(reading: Row) -> str:
    """Return what is held equal in a reading, in words."""
    name, amount, unit = (reading.get(key) for key in ("budget", "amount", "unit"))
    words = {"convergence": "at convergence", "target": "at the target"}.get(str(name), str(name))
    if amount is None:
        return shortened(words)
    if words == "seconds":
        return f"{number(amount)} s of training"
    counted = f"{number(amount)} {unit or ''}".strip().removesuffix("s" if amount == 1 and len(unit or "") > 1 else "")
    return shortened(counted if unit == words else f"{words}: {counted}")


def readings(result: Result) -> Iterator[tuple[str, Row]]:
    """Yield each reading with its label, in the order of the page."""
    budgets = result.get("budgets") or {}
    for name in sorted(budgets, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name)):
        for reading in budgets[name] or []:
            yield label(reading), reading


def _groups(result: Result) -> list[list[str]]:
    groups: dict[Any, list[str]] = {}
    for text, reading in readings(result):
        groups.setdefault(reading.get("budget"), []).append(text)
    return list(groups.values())


def _first(result: Result, labels: list[str]) -> str:
    """Return the reading to begin with: the largest amount of the first budget."""
    return next((label for label in reversed(_groups(result)[0]) if label in labels), labels[0])


def _crowded(result: Result) -> bool:
    return sum(map(len, _groups(result))) > PANELS


def _state(row: Row, reading: Row) -> str:
    winner = reading.get("winner") or {}
    if winner.get("batch_size") is None or estimate(row, "test_metric")["value"] is None:
        return "not compared"
    if row.get("batch_size") == winner["batch_size"]:
        return "best"
    return "tied with the best" if row.get("batch_size") in (winner.get("tied") or []) else "behind"


def _points(result: Result) -> list[Row]:
    points = [
        point(
            in_percent(estimate(row, "test_metric"), result), reading=text, batch_size=row["batch_size"],
            rate=number(row.get("learning_rate")), state=_state(row, reading),
        )
        for text, reading in readings(result)
        for row in reading.get("rows") or []
        if row.get("batch_size")
    ]  # fmt: skip
    known = [row for row in points if row["value"] is not None]
    fraction, labels = metric_is_fraction(result), dict.fromkeys(row["reading"] for row in known)
    return [row for text in labels for row in cut([r for r in known if r["reading"] == text], fraction=fraction)]


def _layers(result: Result, points: list[Row], *, small: bool = False) -> alt.LayerChart:
    x = batch_size_axis(batch_sizes(points))
    title = None if small else metric_title(result)
    axis = alt.Axis(format=".4~g", tickCount=4 if small else 8)
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False, padding=8), axis=axis)
    x = x.title(None) if small else x
    states = [state for state in STATES if any(row["state"] == state for row in points)]
    colours, shapes = ([STATES[state][part] for state in states] for part in (0, 1))
    color = alt.Color("state:N", title=None, scale=alt.Scale(domain=states, range=colours))
    shape = alt.Shape("state:N", title=None, scale=alt.Scale(domain=states, range=shapes))
    base = alt.Chart().encode(x=x)
    line = base.mark_line(color="#B9BEC6", strokeWidth=1).encode(y=y)
    bars = base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q", title=title, axis=axis), y2="high:Q", color=color)
    hints = tooltip(batch_size="batch size", rate="learning rate", state="standing")
    marks = base.mark_point(filled=True, opacity=1, size=70 if small else 110).encode(
        y=y, color=color, shape=shape, tooltip=hints
    )
    return alt.LayerChart(layer=[line, bars, marks], data=alt.Data(values=points))
