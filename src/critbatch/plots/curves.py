"""Test metric and training loss along training, one line per batch size, over steps, epochs, examples or seconds."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from . import (
    CUT,
    DASHES,
    INK,
    PALETTE,
    Drawing,
    Result,
    Row,
    batch_sizes,
    cut,
    framed,
    metric_is_fraction,
    metric_title,
    number,
    series_scale,
)

TITLE = "Along training, the order of the batch sizes depends on the horizontal axis"
AXES = {
    "epochs": "Epochs",
    "step": "Steps (updates)",
    "examples": "Examples seen",
    "seconds": "Training time (seconds)",
}
DRAWN, LISTED = 3000, 12  # looks in the chart, and per batch size in the table
_LEADING = "round(datum.value / pow(10, floor(log(datum.value) / LN10 + 1e-9)))"
_AMOUNT = f"indexof([1, 2, 5], {_LEADING}) < 0 ? '' : format(datum.value, datum.value >= 1000 ? '~s' : '~g')"


def describe(result: Result) -> str:
    """Return what the chart shows."""
    return (
        "Averages over seeds at each batch size's best learning rate; the band is the interval of the test metric. At "
        "equal epochs small batches tend to lead, at equal steps large ones: switch the horizontal axis to see both. "
        f"The table has every axis, at up to {LISTED} looks per batch size. {CUT}"
    )


def missing(result: Result) -> str | None:
    """Return why there is no chart, or None if there is one."""
    return None if _points(result, DRAWN) else "No look along training is kept in this result."


def chart(result: Result) -> Drawing:
    """Return one panel with switches of the horizontal axis and of the quantity."""
    points = _points(result, DRAWN)
    axis = alt.param(
        name="curves_axis", value="epochs",
        bind=alt.binding_radio(options=list(AXES), labels=list(AXES.values()), name="Horizontal axis: "),
    )  # fmt: skip
    titles = [metric_title(result), _loss_title(result)]
    quantity = alt.param(
        name="curves_quantity", value="metric",
        bind=alt.binding_radio(options=["metric", "loss"], labels=titles, name="Quantity: "),
    )  # fmt: skip
    power = "pow(10, datum.value)" if _logarithmic(result) else "datum.value"
    labels = f"curves_quantity == 'loss' ? format({power}, '.2~g') : datum.label"
    lines = _lines(
        batch_sizes(points),
        x=_x(None),
        y_axis=alt.Axis(title=None, labelExpr=labels, format=".4~g", tickCount=6),
        live=True,
    )
    names = alt.layer(
        _words(f"{_choice('curves_axis', AXES)}", x="width / 2", y="height + 38", align="center"),
        _words("curves_quantity == 'loss' ? loss_title : metric_title", x="0", y="-8", align="left"),
    )
    switched = (
        alt.layer(lines, names, data=alt.Data(values=points))
        .transform_calculate(x="datum[curves_axis]")
        .transform_calculate(**{
            key: f"curves_quantity == 'loss' ? datum.loss : datum.{field}"
            for key, field in {"y": "metric", "low": "low", "high": "high"}.items()
        })
    )  # fmt: skip
    texts = [
        alt.param(name=name, value=text) for name, text in zip(("metric_title", "loss_title"), titles, strict=True)
    ]
    sized = switched.add_params(axis, quantity, *texts).properties(width="container", height=320)
    return framed(sized, live=True)


def still(result: Result) -> Drawing:
    """Return two panels over epochs: the test metric and the training loss."""
    points = _points(result, DRAWN)
    power = "format(pow(10, datum.value), '.2~g')" if _logarithmic(result) else "datum.label"
    metric = [{**row, "x": row["epochs"], "y": row["metric"]} for row in points]
    loss = [{**row, "x": row["epochs"], "y": row["loss"], "low": row["loss"], "high": row["loss"]} for row in points]
    panels = [
        _lines(
            batch_sizes(points),
            x=_x(AXES["epochs"]),
            y_axis=alt.Axis(title=title, tickCount=6, format=".4~g", labelExpr=labels),
        ).properties(width=650, height=220, data=alt.Data(values=data))
        for data, title, labels in (
            (metric, metric_title(result), "datum.label"),
            (loss, _loss_title(result), power),
        )
    ]
    return framed(alt.vconcat(*panels), live=False)


def rows(result: Result) -> list[Row]:
    """Return a row for each batch size and some of its looks, with all four axes."""
    sizes = batch_sizes(result.get("curves"))
    return [
        {
            "batch size": row["batch_size"],
            "learning rate": number(row["rate"]),
            "steps": row["step"],
            "epochs": row["epochs"],
            "examples": row["examples"],
            "seconds": row["seconds"],
            metric_title(result): f"{number(row['metric'])} {row['interval']}".strip(),
            "train loss": row["plain_loss"],
        }
        for row in _points(result, LISTED * len(sizes))
    ]


def _points(result: Result, most: int) -> list[Row]:
    scale = 100 if metric_is_fraction(result) else 1
    curves = [row for row in result.get("curves") or [] if row.get("batch_size") and (row.get("step") or 0) > 0]
    sizes = batch_sizes(curves)
    points, logarithmic = [], _logarithmic(result)
    for size in sizes:
        looks = sorted((row for row in curves if row["batch_size"] == size), key=lambda row: row["step"])
        kept = _spread(looks, most // len(sizes))
        points += [{**_point(row, scale, logarithmic), "alone": len(kept) == 1} for row in kept]
    return _trimmed(points, fraction=scale == 100)


def _trimmed(points: list[Row], *, fraction: bool) -> list[Row]:
    known = [{**row, "value": row["metric"]} for row in points if row["metric"] is not None]
    return cut(known, fraction=fraction) + [row for row in points if row["metric"] is None]


def _spread(looks: Sequence[Row], most: int) -> list[Row]:
    """Return at most `most` looks, evenly spread in the logarithm of the step; the first and last always."""
    if len(looks) <= most:
        return list(looks)
    start, end = math.log(looks[0]["step"]), math.log(looks[-1]["step"])
    kept = {0: looks[0], most - 1: looks[-1]}
    for row in looks[:-1]:
        kept.setdefault(int((math.log(row["step"]) - start) / (end - start) * (most - 1)), row)
    return sorted(kept.values(), key=lambda row: row["step"])


def _point(row: Row, scale: float, logarithmic: bool) -> Row:
    loss, metric = row.get("train_loss"), row.get("test_metric")
    ends = [row.get("test_metric_low"), row.get("test_metric_high")]
    low, high = (None if metric is None else scale * (metric if end is None else end) for end in ends)
    return {
        "batch_size": row["batch_size"], "rate": row.get("learning_rate"),
        **{axis: row.get(axis) or None for axis in AXES},
        "metric": None if metric is None else scale * metric, "low": low, "high": high,
        "interval": "" if None in ends else f"[{number(low)}, {number(high)}]",
        "loss": None if loss is None else math.log10(loss) if logarithmic else loss, "plain_loss": loss,
    }  # fmt: skip


def _logarithmic(result: Result) -> bool:
    losses = [row.get("train_loss") for row in result.get("curves") or []]
    return all(loss > 0 for loss in losses if loss is not None)


def _loss_title(result: Result) -> str:
    return "Training loss (logarithmic)" if _logarithmic(result) else "Training loss"


def _choice(name: str, options: dict[str, str]) -> str:
    pairs = ", ".join(f"'{key}': '{text}'" for key, text in options.items())
    return f"{{{pairs}}}[{name}]"


def _words(expression: str, *, x: str, y: str, align: Any) -> alt.Chart:
    mark = alt.Chart(alt.Data(values=[{}])).mark_text(
        text=alt.ExprRef(expression), align=align, fontSize=12, color=INK, baseline="bottom", clip=False
    )
    return mark.encode(x=alt.value(alt.ExprRef(x)), y=alt.value(alt.ExprRef(y)))


def _x(title: str | None) -> alt.X:
    axis = alt.Axis(title=title, labelExpr=_AMOUNT, labelOverlap="greedy", labelSeparation=8, grid=False, tickCount=8)
    return alt.X("x:Q", scale=alt.Scale(type="log", nice=False), axis=axis)


def _lines(sizes: list[int], *, x: alt.X, y_axis: alt.Axis, live: bool = False) -> alt.LayerChart:
    colours, dashes = (alt.Scale(domain=sizes, range=series_scale(part, len(sizes))) for part in (PALETTE, DASHES))
    legend = alt.Legend(title="Batch size", symbolType="stroke", symbolSize=400, symbolOpacity=1)
    color = alt.Color("batch_size:O", scale=colours, legend=legend)
    dash = alt.StrokeDash("batch_size:O", scale=dashes, legend=legend)
    y = alt.Y("y:Q", scale=alt.Scale(zero=False), axis=y_axis)
    base = alt.Chart().encode(x=x, color=color)
    band = base.mark_area(opacity=0.14).encode(y=alt.Y("low:Q", axis=y_axis), y2="high:Q")
    line = base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash)
    seen = alt.ExprRef("datum.alone ? 1 : 0")  # a line needs two looks; the other points are there to be hovered over
    touch = base.mark_point(filled=True, size=60, opacity=seen).encode(y=y, tooltip=_hints())
    return alt.LayerChart(layer=[band, line, touch if live else touch.transform_filter("datum.alone")])


def _hints() -> list[alt.Tooltip]:
    words = {"batch_size": "batch size", "interval": "interval of the metric"}
    numbers = {"rate": "learning rate", **AXES, "metric": "test metric", "plain_loss": "training loss"}
    return [
        *(alt.Tooltip(field=key, type="nominal", title=title) for key, title in words.items()),
        *(alt.Tooltip(field=key, type="quantitative", title=title, format=".3~g") for key, title in numbers.items()),
    ]
