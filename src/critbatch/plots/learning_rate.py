"""Best learning rate against batch size, with the named rules drawn through a reference point."""

import altair as alt

from . import (
    BLACK,
    BLUE,
    GRAY,
    GREEN,
    PURPLE,
    VERMILION,
    WIDTH,
    Drawing,
    Result,
    Row,
    batch_size_axis,
    batch_sizes,
    bound,
    estimate,
    framed,
    heights,
    interval,
    log_axis,
    number,
    point,
    same_axis,
    sentence,
    tooltip,
)

TITLE = "Best learning rate for each batch size"
INSIDE, EDGE, GRID = "inside the grid", "edge of grid", "best of grid"
RULES = {"linear": (1.0, BLUE, [6, 3]), "square root": (0.5, GREEN, [2, 3]), "constant": (0.0, PURPLE, [9, 2, 2, 2])}


def describe(result: Result) -> str:
    """Return what the chart shows, and which rule the data obey."""
    rule = result.get("learning_rate_rule") or {}
    exponent = estimate(rule, "exponent")
    found = (
        f"Best learning rate ∝ (batch size) to the power {number(exponent['value'])} {interval(exponent)}. "
        if exponent["value"] is not None
        else f"The exponent is {bound(exponent)}: {sentence(exponent['reason'])} "
    )
    reference = _reference(result)
    drawn = f"The rules pass through batch size {reference['batch_size']}. " if reference else ""
    said = rule.get("reason") or ""
    return f"{found}{drawn}{sentence(said) if said != exponent['reason'] else ''}".strip()


def missing(result: Result) -> str | None:
    """Return why there is no chart, or None if there is one."""
    reason = (result.get("learning_rate_rule") or {}).get("reason")
    return None if _points(result) else f"No batch size has a best learning rate. {sentence(reason or '')}".strip()


def chart(result: Result) -> Drawing:
    """Return the interactive chart."""
    return framed(_layers(result).properties(width="container", height=320), live=True)


def still(result: Result) -> Drawing:
    """Return the chart at a fixed width."""
    return framed(_layers(result).properties(width=WIDTH - 60, height=320), live=False)


def rows(result: Result) -> list[Row]:
    """Return a row for each batch size."""
    return [
        {
            "batch size": row.get("batch_size"),
            "best learning rate": estimate(row, "best_learning_rate"),
            "best of the grid": number(row.get("grid_learning_rate")),
            "edge of the grid": row.get("learning_rate_at_edge") or "not recorded",
        }
        for row in result.get("batch_sizes") or []
    ]


def _points(result: Result) -> list[Row]:
    points = []
    for row in result.get("batch_sizes") or []:
        found = estimate(row, "best_learning_rate")
        drawn = next((found[key] for key in ("value", "low", "high") if found[key] is not None), None)
        drawn = row.get("grid_learning_rate") if drawn is None else drawn
        if row.get("batch_size") and drawn and drawn > 0:
            edge = row.get("learning_rate_at_edge") not in {None, "none"}
            state = EDGE if edge else GRID if found["value"] is None else INSIDE
            datum = point(found, batch_size=row["batch_size"], state=state)
            ends = {key: datum[key] if datum[key] and datum[key] > 0 else drawn for key in ("low", "high")}
            points.append({**datum, "value": drawn, **ends})
    return points


def _reference(result: Result) -> Row | None:
    """Return the point that the rules pass through: at the plan's reference batch size, else the middle one."""
    points = [row for row in _points(result) if row["state"] == INSIDE]
    wanted = (result.get("plan") or {}).get("reference_batch_size")
    named = [row for row in points if row["batch_size"] == wanted]
    return (named or points[len(points) // 2 : len(points) // 2 + 1] or [None])[0]


def _layers(result: Result) -> alt.LayerChart:
    points, reference = _points(result), _reference(result)
    sizes = batch_sizes(points)
    x = batch_size_axis(sizes)
    y = log_axis("value", "Best learning rate", heights(points), widen=2)
    lines = _lines(x, y, [sizes[0] / 1.3, sizes[-1] * 1.3], reference) if reference else []
    return alt.LayerChart(layer=[*lines, *_marks(x, y, points)])


def _lines(x: alt.X, y: alt.Y, ends: list[float], reference: Row) -> list[alt.Chart]:
    values = [
        {"batch_size": size, "value": reference["value"] * (size / reference["batch_size"]) ** power, "rule": name}
        for name, (power, _, _) in RULES.items()
        for size in ends
    ]
    color, dash = (alt.Scale(domain=list(RULES), range=[rule[part] for rule in RULES.values()]) for part in (1, 2))
    chart = alt.Chart(alt.Data(values=values)).mark_line(strokeWidth=2, clip=True)
    legend = alt.Legend(title="Rule", symbolType="stroke", symbolSize=400)
    return [
        chart.encode(
            x=x, y=y, color=alt.Color("rule:N", scale=color, legend=legend),
            strokeDash=alt.StrokeDash("rule:N", scale=dash, legend=legend),
        )
    ]  # fmt: skip


def _marks(x: alt.X, y: alt.Y, points: list[Row]) -> list[alt.Chart]:
    low = same_axis("low", y)
    hints = tooltip(batch_size="batch size", state="place")
    layers = []
    for state, color, shape in ((INSIDE, BLACK, "circle"), (EDGE, VERMILION, "triangle-up"), (GRID, GRAY, "cross")):
        base = alt.Chart(alt.Data(values=[row for row in points if row["state"] == state])).encode(x=x)
        layers += [
            base.mark_rule(strokeWidth=1.5, color=color, clip=True).encode(y=low, y2="high:Q"),
            base.mark_point(filled=True, opacity=1, size=90, color=color, shape=shape).encode(y=y, tooltip=hints),
        ]
    edges = alt.Chart(alt.Data(values=[row for row in points if row["state"] != INSIDE]))
    halo = edges.mark_text(align="center", dy=15, stroke="white", strokeWidth=3).encode(x=x, y=y, text="state:N")
    text = edges.mark_text(align="center", dy=15, color="#8A3C00").encode(x=x, y=y, text="state:N")
    return [*layers, halo, text]
