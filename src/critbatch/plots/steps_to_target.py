"""Steps to target against batch size, with the fitted curve, the perfect-scaling line and the three regimes."""

import math

import altair as alt

from . import (
    BLACK,
    BLUE,
    CUT,
    GRAY,
    INK,
    ORANGE,
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

TITLE = "Steps to target: where a larger batch stops saving steps"
MEASURED, FITTED, PERFECT, NEVER = "measured", "fitted curve", "perfect scaling", "not reached: more than"
LINES = {FITTED: (BLUE, [1, 0]), PERFECT: (GRAY, [5, 4])}
REGIMES = ("perfect\nscaling", "diminishing\nreturns", "maximal data\nparallelism")
FACTOR = 5  # S(B) is 20 % above S_min at 5 B_crit, and examples are 20 % above E_min at B_crit / 5
LABEL_WIDTH = 78  # pixels that a regime's label needs


def describe(result: Result) -> str:
    """Return what the chart shows, and what the fit says."""
    text = (
        "Averages over seeds at each batch size's best learning rate, with intervals, on logarithmic axes. On the "
        f"dashed line, doubling the batch size halves the steps. {CUT} "
    )
    fit = result.get("fit") or {}
    critical = estimate(fit, "critical_batch_size")
    if critical["value"] is None:
        reason = sentence(fit.get("reason") or critical["reason"])
        return f"{text}No critical batch size: it is {bound(critical)}. {reason}"
    return (
        f"{text}The critical batch size is {number(critical['value'])} {interval(critical)}: "
        f"{sentence(critical['definition'])} "
        f"Scaling is called perfect while steps are within 20 % of it (here up to {number(_early(result))}), and data "
        "parallelism maximal once steps are within 20 % of the fewest (from five times the critical batch size)."
    )


def missing(result: Result) -> str | None:
    """Return why there is no chart, or None if there is one."""
    return None if _points(result) else "No batch size reached the target."


def chart(result: Result) -> Drawing:
    """Return the interactive chart."""
    return framed(_layers(result).properties(width="container", height=360), live=True)


def still(result: Result) -> Drawing:
    """Return the chart at a fixed width."""
    return framed(_layers(result).properties(width=WIDTH - 60, height=360), live=False)


def rows(result: Result) -> list[Row]:
    """Return a row for each batch size, with all four currencies."""
    names = {"steps": "steps_to_target", "examples": "examples_to_target", "epochs": "epochs_to_target",
             "seconds": "seconds_to_target"}  # fmt: skip
    return [
        {
            "batch size": row.get("batch_size"),
            **{f"{title} to target": estimate(row, name) for title, name in names.items()},
            "runs": row.get("runs"),
            "not reached": row.get("censored"),
        }
        for row in result.get("batch_sizes") or []
    ]


def _points(result: Result) -> list[Row]:
    points = []
    for row in result.get("batch_sizes") or []:
        found = estimate(row, "steps_to_target")
        drawn = found["value"] if found["value"] is not None else found["low"]
        if row.get("batch_size") and drawn is not None and drawn > 0:
            state = MEASURED if found["value"] is not None else NEVER
            points.append({**point(found, batch_size=row["batch_size"], state=state), "value": drawn})
            if state == NEVER or (points[-1]["low"] or 0) <= 0:
                points[-1]["low"] = drawn
                points[-1]["high"] = max(points[-1]["high"] or drawn, drawn)
    return points


def _layers(result: Result) -> alt.LayerChart:
    points, band = _points(result), _band(result)
    sizes = batch_sizes(points)
    perfect = _perfect(result, points)
    x, domain = batch_size_axis(sizes), (min(sizes) / 1.35, max(sizes) * 1.35)
    y = log_axis("value", "Steps to target", heights(points) + [row["steps"] for row in band], widen=1.5)
    layers = [
        *_regimes(result, domain),
        *_curves(x, y, band, perfect),
        *_critical(result, domain),
        *_marks(x, y, points),
    ]
    return alt.LayerChart(layer=layers)


def _marks(x: alt.X, y: alt.Y, points: list[Row]) -> list[alt.Chart]:
    low = same_axis("low", y)
    hints = tooltip(batch_size="batch size", state="steps to target")
    layers = []
    for state, color, shape in ((MEASURED, BLACK, "circle"), (NEVER, VERMILION, "triangle-up")):
        base = alt.Chart(alt.Data(values=[row for row in points if row["state"] == state])).encode(x=x)
        layers += [
            base.mark_rule(strokeWidth=1.5, color=color, clip=True).encode(y=low, y2="high:Q"),
            base.mark_point(filled=True, opacity=1, size=80, color=color, shape=shape).encode(y=y, tooltip=hints),
        ]
    lost = alt.Chart(alt.Data(values=[row for row in points if row["state"] == NEVER]))
    text = lost.mark_text(text="not reached", align="right", dx=8, dy=17, color="#8A3C00").encode(x=x, y=y)
    return [*layers, text]


def _band(result: Result) -> list[Row]:
    rows = [
        (size, value, value if low is None else low, value if high is None else high)
        for size, low, value, high in (result.get("fit") or {}).get("band") or []
    ]
    return [
        {"batch_size": size, "steps": value, "low": low, "high": high, "line": FITTED}
        for size, value, low, high in rows
        if value and low and min(value, low) > 0
    ]


def _perfect(result: Result, points: list[Row]) -> list[Row]:
    """Return two points of the line steps = E / batch size, E from the fit or else from the smallest batch size."""
    sizes, examples = batch_sizes(points), estimate(result.get("fit"), "e_min")["value"]
    if not examples or examples <= 0:
        reached = [row for row in points if row["state"] == MEASURED]
        if not reached:
            return []
        first = min(reached, key=lambda row: row["batch_size"])
        examples = first["value"] * first["batch_size"]
    return [
        {"batch_size": size, "steps": examples / size, "line": PERFECT} for size in (sizes[0] / 1.3, sizes[-1] * 1.3)
    ]


def _curves(x: alt.X, y: alt.Y, band: list[Row], perfect: list[Row]) -> list[alt.Chart]:
    lines = [line for line, rows in ((FITTED, band), (PERFECT, perfect)) if rows]
    if not lines:
        return []
    color, dash = (alt.Scale(domain=lines, range=[LINES[line][part] for line in lines]) for part in (0, 1))
    legend = alt.Legend(symbolType="stroke", symbolSize=400)
    vertical = same_axis("steps", y)
    drawn = alt.Chart(alt.Data(values=band + perfect)).mark_line(strokeWidth=2, clip=True).encode(
        x=x, y=vertical, color=alt.Color("line:N", title=None, scale=color, legend=legend),
        strokeDash=alt.StrokeDash("line:N", title=None, scale=dash, legend=legend),
    )  # fmt: skip
    low = same_axis("low", y)
    area = alt.Chart(alt.Data(values=band)).mark_area(opacity=0.15, color=BLUE, clip=True)
    return [area.encode(x=x, y=low, y2="high:Q"), drawn] if band else [drawn]


def _critical(result: Result, domain: tuple[float, float]) -> list[alt.Chart]:
    critical = estimate(result.get("fit"), "critical_batch_size")
    value = critical["value"]
    if value is None or not domain[0] < value < domain[1]:
        return []
    ends = (critical["low"] or domain[0], critical["high"] or domain[1])
    span = {"start": max(ends[0], domain[0]), "end": min(ends[1], domain[1]), "words": f"B_crit = {number(value)}"}
    data = alt.Chart(alt.Data(values=[point(critical, **span)]))
    area = data.mark_rect(color=ORANGE, opacity=0.18).encode(x="start:Q", x2="end:Q")
    rule = data.mark_rule(color="#8A5A00", strokeWidth=2, strokeDash=[2, 2]).encode(
        x="value:Q", y=alt.value(38), y2=alt.value(alt.ExprRef("height")), tooltip=tooltip()
    )
    text = data.mark_text(align="left", dx=5, baseline="top", fontWeight="bold", color="#7A4F00", fontSize=12)
    return [area, rule, text.encode(x="value:Q", y=alt.value(42), text="words:N")]


def _early(result: Result) -> float:
    """Return where perfect scaling ends: steps are 20 % above it."""
    fit = result.get("fit")
    early = estimate(fit, "critical_batch_size_20pct")["value"]
    return early if early is not None else (estimate(fit, "critical_batch_size")["value"] or 0.0) / FACTOR


def _regimes(result: Result, domain: tuple[float, float]) -> list[alt.Chart]:
    critical = estimate(result.get("fit"), "critical_batch_size")["value"]
    if critical is None:
        return []
    low, high = domain
    inner = (min(max(edge, low), high) for edge in (_early(result), FACTOR * critical))
    edges, whole = [low, *inner, high], math.log(high / low)
    parts = [
        {"start": start, "middle": math.sqrt(start * end), "words": words, "share": math.log(end / start) / whole}
        for words, start, end in zip(REGIMES, edges, edges[1:], strict=False)
        if end > start
    ]
    data = alt.Chart(alt.Data(values=parts))
    words = alt.ExprRef(f"datum.share * width > {LABEL_WIDTH} ? datum.words : ''")
    text = data.mark_text(text=words, lineBreak="\n", color=INK, fontSize=11, fontStyle="italic", baseline="top", dy=6)
    bounds = alt.Chart(alt.Data(values=parts[1:])).mark_rule(color="#B9BEC6", strokeWidth=1)
    return [bounds.encode(x="start:Q"), text.encode(x="middle:Q", y=alt.value(0))]
