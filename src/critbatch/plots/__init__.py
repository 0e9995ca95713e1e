"""Charts of a result, one file per chart: pure functions from `result.json`'s dictionary to Altair.

Every file has `TITLE`, `describe(result)`, `missing(result)` (why there is no chart, or None), `chart(result)`
(interactive, as wide as its container), `still(result)` (fixed width, shows everything at once) and `rows(result)` (the
chart's table; cells are texts, numbers or estimates). Here is what they share: numbers as text, colours and axes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

Result = Mapping[str, Any]
Drawing = alt.Chart | alt.LayerChart | alt.FacetChart | alt.VConcatChart | alt.HConcatChart
Row = dict[str, Any]

# Okabe & Ito (2008), "Color Universal Design"; yellow is left out: it cannot be read on white.
BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, GRAY = "#CC79A7", "#56B4E9", "#000000", "#5F6670"
PALETTE = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK, GRAY)
DASHES = ([1, 0], [7, 2], [3, 2], [9, 2, 2, 2], [2, 3], [12, 3], [5, 2, 1, 2, 1, 2], [1, 1])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
INK, FONT = "#22272E", "Arial, 'Liberation Sans', Helvetica, sans-serif"
WIDTH = 720  # of still charts, in pixels
NOT_RECORDED = "not recorded"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_NARROW_SPACE = "\u202f"


def number(value: float | None) -> str:
    """Return a number as text: whole numbers in full, others with three significant digits."""
    if value is None or not math.isfinite(value):
        return "—"
    if value < 0:
        return f"−{number(-value)}"
    size = value
    if size != 0 and not 1e-3 <= size < 1e7:
        digits, exponent = f"{value:.2e}".split("e")
        return f"{float(digits):g}×10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    if float(value).is_integer():
        return f"{int(value):,}".replace(",", _NARROW_SPACE) if size >= 10_000 else str(int(value))
    if size >= 1000:
        return number(int(float(f"{value:.3g}")))
    return f"{value:.3g}"


def estimate(row: Mapping[str, Any] | None, name: str) -> Row:
    """Return the estimate `name` of a row with every key present; one that is not there says so as its reason."""
    found = (row or {}).get(name) or {}
    texts = {"unit": "", "method": "", "definition": "", "reason": None, "level": 0.95, "count": 0}
    known = {key: found.get(key) for key in ("value", "low", "high")}
    rest = {key: fallback if found.get(key) is None else found[key] for key, fallback in texts.items()}
    if rest["unit"] == "dimensionless":
        rest["unit"] = ""
    if known["value"] is None and not rest["reason"]:
        rest["reason"] = NOT_RECORDED
    return {**known, **rest}


def in_percent(found: Row, result: Result) -> Row:
    """Return an estimate of the task's metric in percent if the metric is a fraction, else unchanged."""
    if not metric_is_fraction(result):
        return found
    scaled = {key: None if found[key] is None else 100 * found[key] for key in ("value", "low", "high")}
    return {**found, **scaled, "unit": "%"}


def metric_is_fraction(result: Result) -> bool:
    """Return whether the task's metric is an accuracy between 0 and 1."""
    values = [estimate(row, "test_metric")["value"] for row in result.get("batch_sizes") or []]
    return "accuracy" in metric_name(result) and all(0 <= value <= 1 for value in values if value is not None)


def metric_name(result: Result) -> str:
    """Return the metric's name in words."""
    return str((result.get("task") or {}).get("metric") or "metric").replace("_", " ")


def metric_title(result: Result) -> str:
    """Return the metric's axis title, with its unit."""
    return f"Test {shortened(metric_name(result))}{' (%)' if metric_is_fraction(result) else ''}"


def shortened(text: str, length: int = 40) -> str:
    """Return a text cut to `length` characters, for places that cannot wrap."""
    return text if len(text) <= length else text[: length - 1] + "…"


def interval(found: Row) -> str:
    """Return an estimate's interval as text, empty if there is none; an open end is called open."""
    if found["low"] is None and found["high"] is None:
        return ""
    low, high = ("open" if found[key] is None else number(found[key]) for key in ("low", "high"))
    return f"[{low}, {high}]"


def bound(found: Row) -> str:
    """Return what is known of an estimate without a value: between, above, below, or not known."""
    if found["low"] is not None and found["high"] is not None:
        return f"between {number(found['low'])} and {number(found['high'])}"
    if found["low"] is not None:
        return f"above {number(found['low'])}"
    return f"below {number(found['high'])}" if found["high"] is not None else "not known"


def shown(found: Row) -> str:
    """Return an estimate as one line of text, with its unit: value and interval, or bound and reason."""
    unit = f" {found['unit']}" if found["unit"] else ""
    if found["value"] is None:
        return f"{bound(found)}{unit if bound(found) != 'not known' else ''}: {found['reason']}"
    return f"{number(found['value'])}{unit} {interval(found)}".strip()


def sentence(text: str) -> str:
    """Return a text with a capital at its start and a full stop at its end."""
    trimmed = text.strip()
    return trimmed[:1].upper() + trimmed[1:] + ("" if not trimmed or trimmed[-1] in ".!?:" else ".")


def point(found: Row, **fields: Any) -> Row:
    """Return an estimate as a datum: numbers to draw, and texts for the tooltip."""
    value = found["value"]
    ends = {key: value if found[key] is None else found[key] for key in ("low", "high")}
    texts = {
        "shown": shown(found),
        "count": found["count"],
        "method": found["method"],
        "definition": found["definition"],
    }
    return {**fields, "value": value, **ends, **texts}


CUT = "Intervals that reach far beyond the points are cut at the edge; the table has them in full."
_REACH = 4.0  # how many times beyond the points an interval is drawn on a logarithmic axis


def cut(points: Sequence[Row], *, fraction: bool) -> list[Row]:
    """Return points whose intervals are drawn at most one span of the values beyond them, and within 0 to 100 %."""
    values = [row["value"] for row in points]
    if not values:
        return []
    span = (max(values) - min(values)) or abs(values[0]) or 1.0
    least, most = min(values) - span, max(values) + span
    if fraction:
        least, most = max(least, 0.0), min(most, 100.0)
    return [{**row, "low": max(row["low"], least), "high": min(row["high"], most)} for row in points]


def heights(points: Sequence[Row]) -> list[float]:
    """Return what a logarithmic axis has to show of some points: all values, and intervals up to 4 times beyond."""
    least, most = min(row["value"] for row in points) / _REACH, max(row["value"] for row in points) * _REACH
    ends = [row[key] for row in points for key in ("low", "high")]
    return [row["value"] for row in points] + [min(max(end, least), most) for end in ends]


def tooltip(**fields: str) -> list[alt.Tooltip]:
    """Return the tooltip of a `point`: its own fields (name: title), then the estimate."""
    common = {"shown": "value", "count": "count", "method": "method", "definition": "definition"}
    return [alt.Tooltip(field=key, type="nominal", title=title) for key, title in {**fields, **common}.items()]


def batch_sizes(rows: Sequence[Mapping[str, Any]] | None) -> list[int]:
    """Return the batch sizes of some rows, sorted, without repetition."""
    return sorted({row["batch_size"] for row in rows or [] if row.get("batch_size")})


def batch_size_axis(sizes: Sequence[float], *, widen: float = 1.35) -> alt.X:
    """Return a logarithmic axis with a tick at every batch size."""
    domain = [min(sizes) / widen, max(sizes) * widen]
    axis = alt.Axis(values=list(sizes), format="d", labelOverlap="greedy", grid=False)
    return alt.X(
        "batch_size:Q", title="Batch size (examples per step)", scale=alt.Scale(type="log", domain=domain, nice=False),
        axis=axis,
    )  # fmt: skip


def log_axis(name: str, title: str, values: Sequence[float], *, widen: float = 1.3) -> alt.Y:
    """Return a logarithmic vertical axis over `values`, with ticks at powers of 10, and at 2 and 5 if there are few."""
    low, high = min(values) / widen, max(values) * widen
    powers = [10.0**decade for decade in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    parts = (1,) if sum(low <= power <= high for power in powers) > 4 else (1, 2, 5)
    ticks = [part * power for power in powers for part in parts if low <= part * power <= high]
    scale, form = alt.Scale(type="log", domain=[low, high], nice=False), "~s" if low >= 1 else "~g"
    return alt.Y(name, type="quantitative", title=title, scale=scale, axis=alt.Axis(values=ticks, format=form))


def same_axis(name: str, axis: alt.Y) -> alt.Y:
    """Return another field on the axis of `log_axis`, so that layers share it."""
    return alt.Y(name, type="quantitative", title=axis["title"], scale=axis["scale"], axis=axis["axis"])


def series_scale(entries: Sequence[Any], count: int) -> list[Any]:
    """Return `count` entries of a palette, dash or shape list, from the start again when it is used up."""
    return [entries[index % len(entries)] for index in range(count)]


def framed(drawing: Drawing, *, live: bool) -> Drawing:
    """Return a drawing with the house style; a live one is as wide as its container."""
    axis = alt.AxisConfig(
        labelColor=INK, titleColor=INK, labelFontSize=11, titleFontSize=12, titleFontWeight="normal", titlePadding=8,
        gridColor="#E6E8EB", domainColor="#8A919B", tickColor="#8A919B",
    )  # fmt: skip
    rise = alt.AxisConfig(
        titleAngle=0, titleAlign="left", titleAnchor="start", titleX=0, titleY=-10, titleBaseline="bottom"
    )
    legend = alt.LegendConfig(
        orient="top", direction="horizontal", labelFontSize=11, titleFontSize=11, titleFontWeight="normal",
        labelColor=INK, titleColor=INK, symbolSize=80, symbolStrokeWidth=2, columns=6 if live else 10, labelLimit=260,
        offset=30 if isinstance(drawing, alt.LayerChart) else 12,
    )  # fmt: skip
    header = alt.HeaderConfig(labelFontSize=12, labelColor=INK, titleColor=INK, labelLimit=240)
    styled = drawing.configure(
        font=FONT, background="#FFFFFF", view=alt.ViewConfig(stroke=None), axis=axis, axisY=rise, legend=legend,
        header=header, padding=8,
    )  # fmt: skip
    return styled.properties(autosize=alt.AutoSizeParams(type="fit-x", contains="padding")) if live else styled
