"""Gradient noise scale along training, with its interval."""

import altair as alt

from . import (
    DASHES,
    PALETTE,
    SHAPES,
    VERMILION,
    WIDTH,
    Drawing,
    Result,
    Row,
    batch_sizes,
    estimate,
    framed,
    heights,
    log_axis,
    number,
    point,
    same_axis,
    sentence,
    series_scale,
    tooltip,
)

TITLE = "Gradient noise scale along training"


def describe(result: Result) -> str:
    """Return what the chart shows, and how many looks have no value."""
    looks = result.get("noise_scale") or []
    lost = sum(estimate(row, "noise_scale")["value"] is None for row in looks)
    definition = next((found["definition"] for found in _estimates(result) if found["definition"]), "")
    at = ", ".join(str(size) for size in batch_sizes(looks)) or "unknown"
    text = (
        f"The batch size at which the gradient's noise is as large as the gradient itself. Trained at batch size {at}."
    )
    undetermined = (
        f" {lost} of {len(looks)} looks are undetermined: the gradient cannot be told from zero there. They are listed "
        "in the table; triangles are lower bounds."
        if lost
        else ""
    )
    return f"{text}{undetermined}{f' Definition: {sentence(definition)}' if definition else ''}"


def missing(result: Result) -> str | None:
    """Return why there is no chart, or None if there is one."""
    looks = result.get("noise_scale") or []
    if not looks:
        return "The noise scale was not measured in this sweep."
    return (
        None
        if _points(result)
        else f"Undetermined at every look ({len(looks)}): {sentence(_estimates(result)[0]['reason'])}"
    )


def chart(result: Result) -> Drawing:
    """Return the interactive chart."""
    return framed(_layers(result).properties(width="container", height=300), live=True)


def still(result: Result) -> Drawing:
    """Return the chart at a fixed width."""
    return framed(_layers(result).properties(width=WIDTH - 60, height=300), live=False)


def rows(result: Result) -> list[Row]:
    """Return a row for each look, undetermined ones too."""
    return [
        {
            "batch size": row.get("batch_size"),
            "steps": row.get("step"),
            "epochs": row.get("epochs"),
            "noise scale": estimate(row, "noise_scale"),
            "trace of the covariance": number(row.get("covariance_trace")),
            "squared gradient norm": number(row.get("squared_norm")),
        }
        for row in result.get("noise_scale") or []
    ]


def _estimates(result: Result) -> list[Row]:
    return [estimate(row, "noise_scale") for row in result.get("noise_scale") or []]


def _points(result: Result) -> list[Row]:
    points = []
    for row, found in zip(result.get("noise_scale") or [], _estimates(result), strict=True):
        drawn = found["value"] if found["value"] is not None else found["low"]
        if drawn is None or drawn <= 0 or row.get("epochs") is None:
            continue
        datum = point(found, epochs=row["epochs"], step=row.get("step"), batch_size=row.get("batch_size"))
        ends = {key: drawn if not datum[key] or datum[key] <= 0 else datum[key] for key in ("low", "high")}
        points.append({**datum, **ends, "value": drawn, "bound": found["value"] is None})
    return points


def _layers(result: Result) -> alt.LayerChart:
    points = _points(result)
    sizes = batch_sizes(points)
    x = alt.X("epochs:Q", title="Epochs", axis=alt.Axis(grid=False, tickCount=8), scale=alt.Scale(zero=True))
    y = log_axis("value", "Noise scale (examples)", heights(points))
    low = same_axis("low", y)
    parts = (PALETTE, SHAPES, DASHES)
    color, shape, dash = (alt.Scale(domain=sizes, range=series_scale(part, len(sizes))) for part in parts)
    legend = alt.Legend(symbolOpacity=1) if len(sizes) > 1 else None
    colored = alt.Color("batch_size:N", title="Batch size", scale=color, legend=legend)
    hints = tooltip(step="steps", epochs="epochs", batch_size="batch size")
    known, bounds = ([row for row in points if row["bound"] is lower] for lower in (False, True))
    base = alt.Chart(alt.Data(values=known)).encode(x=x, color=colored)
    dashed = alt.StrokeDash("batch_size:N", title="Batch size", scale=dash, legend=legend)
    shaped = alt.Shape("batch_size:N", title="Batch size", scale=shape, legend=legend)
    layers = [
        base.mark_area(opacity=0.15, clip=True).encode(y=low, y2="high:Q"),
        base.mark_line(strokeWidth=1.5).encode(y=y, strokeDash=dashed),
        base.mark_point(filled=True, opacity=1, size=60).encode(y=y, shape=shaped, tooltip=hints),
    ]
    triangles = alt.Chart(alt.Data(values=bounds)).mark_point(
        filled=True, opacity=1, size=90, shape="triangle-up", color=VERMILION
    )
    return alt.LayerChart(
        layer=(layers if known else []) + ([triangles.encode(x=x, y=y, tooltip=hints)] if bounds else [])
    )
