"""Time to target against device time, with the points that nothing beats."""

import altair as alt

from . import (
    BLACK,
    GRAY,
    VERMILION,
    WIDTH,
    Drawing,
    Result,
    Row,
    estimate,
    framed,
    heights,
    log_axis,
    number,
    point,
    same_axis,
    tooltip,
)

TITLE = "Time and devices: what nothing beats"
EFFICIENT, BEATEN = "nothing beats it", "another is faster and cheaper"


def describe(result: Result) -> str:
    """Return what the chart shows."""
    sizes = sorted({row["batch_size"] for row in result.get("pareto") or [] if row.get("efficient")})
    named = ", ".join(map(number, sizes)) or "none"
    return (
        "Seconds to the target against device seconds (what it costs), for every batch size, on one device and spread over "
        f"several that talk for free: the least that hardware can give. Efficient batch sizes: {named}."
    )


def missing(result: Result) -> str | None:
    """Return why there is no chart, or None if there is one."""
    return None if _points(result) else "No batch size reached the target, or its steps were not timed."


def chart(result: Result) -> Drawing:
    """Return the interactive chart."""
    return framed(_layers(result).properties(width="container", height=320), live=True)


def still(result: Result) -> Drawing:
    """Return the chart at a fixed width."""
    return framed(_layers(result).properties(width=WIDTH - 60, height=320), live=False)


def rows(result: Result) -> list[Row]:
    """Return a row for each batch size and number of devices, the efficient ones first."""
    found = sorted(result.get("pareto") or [], key=lambda row: (not row.get("efficient"), row.get("batch_size") or 0))
    return [
        {
            "batch size": row.get("batch_size"),
            "devices": row.get("devices"),
            "seconds to target": estimate(row, "seconds"),
            "device seconds": estimate(row, "device_seconds"),
            "verdict": EFFICIENT if row.get("efficient") else BEATEN,
        }
        for row in found
    ]


def _points(result: Result) -> list[Row]:
    points = []
    for row in result.get("pareto") or []:
        seconds, cost = estimate(row, "seconds"), estimate(row, "device_seconds")["value"]
        if seconds["value"] and cost:
            verdict = EFFICIENT if row.get("efficient") else BEATEN
            label = f"{row.get('batch_size')} on {row.get('devices')}"
            points.append(point(seconds, cost=cost, verdict=verdict, label=label))
    return points


def _layers(result: Result) -> alt.LayerChart:
    points = _points(result)
    costs = [row["cost"] for row in points]
    y = log_axis("value", "Seconds to target", heights(points), widen=1.5)
    ends = [min(costs) / 1.5, max(costs) * 1.5]
    x = alt.X(
        "cost:Q", title="Device seconds (devices × seconds)", axis=alt.Axis(format="~g", grid=False, labelOverlap="greedy"),
        scale=alt.Scale(type="log", domain=ends, nice=False),
    )  # fmt: skip
    hints = tooltip(label="batch size on devices", verdict="verdict")
    color = alt.Color(
        "verdict:N", title="", scale=alt.Scale(domain=[EFFICIENT, BEATEN], range=[VERMILION, GRAY]), legend=alt.Legend()
    )
    base = alt.Chart(alt.Data(values=points)).encode(x=x)
    best = alt.Chart(alt.Data(values=[row for row in points if row["verdict"] == EFFICIENT])).encode(x=x, y=y)
    return alt.LayerChart(
        layer=[
            base.mark_rule(strokeWidth=1, opacity=0.5, clip=True).encode(
                y=same_axis("low", y), y2="high:Q", color=color
            ),
            best.mark_line(strokeWidth=1, color=VERMILION, strokeDash=[4, 3]).encode(order="cost:Q"),
            base.mark_point(filled=True, opacity=1, size=70).encode(y=y, color=color, tooltip=hints),
            best.mark_text(align="center", dy=16, fontSize=11, color=BLACK).encode(text="label:N"),
        ]
    )
