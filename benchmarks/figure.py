"""Updates per second against batch size, with what the core could do at most."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt

from critbatch.plots import BLACK, BLUE, GRAY, GREEN, ORANGE, PURPLE, SKY, VERMILION, framed

from .table import best_tier, medians, variants

FLOOR = "limit of the core"
OURS = "critbatch"
REFERENCE = "critbatch, reference engine"
COLOURS = (ORANGE, GREEN, PURPLE, VERMILION, SKY, GRAY, "#8C6D31")
SHAPES = ("square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right", "triangle-left")


def draw(document: Mapping[str, Any], out: Path) -> None:
    """Write engine.png and engine.svg to `out`."""
    drawing = chart(document)
    drawing.save(str(out / "engine.svg"))
    drawing.save(str(out / "engine.png"), scale_factor=2)


def chart(document: Mapping[str, Any]) -> alt.VConcatChart:
    """Return a panel for each workload: our fastest tier, the peers, and the floor turned into a rate."""
    rows = _rows(document)
    peers = [one for one in variants(document) if one not in variants(document, "ours")]
    names = [FLOOR, OURS, *([REFERENCE] if any(row["series"] == REFERENCE for row in rows) else []), *peers]
    known = {OURS: (BLUE, "circle"), REFERENCE: ("#7FB2D6", "circle"), FLOOR: (BLACK, "stroke")}
    known |= {name: (COLOURS[index], SHAPES[index]) for index, name in enumerate(peers)}
    colours, shapes = ([known[name][part] for name in names] for part in (0, 1))
    legend = alt.Legend(title=None, orient="top", columns=5, symbolStrokeWidth=2)
    color = alt.Color("series:N", scale=alt.Scale(domain=names, range=colours), legend=legend)
    shape = alt.Shape("series:N", scale=alt.Scale(domain=names, range=shapes), legend=legend)
    titles = list(dict.fromkeys(row["title"] for row in rows))
    panels = [_panel([row for row in rows if row["title"] == title], title, color, shape) for title in titles]
    lines = [alt.hconcat(*panels[start : start + 2], spacing=40) for start in range(0, len(panels), 2)]
    title = alt.TitleParams(
        "Model updates per second on one core", anchor="start", fontSize=14, dy=-6,
        subtitle=f"{document['machine']['processor']}, one thread each, one run; higher is better",
    )  # fmt: skip
    stacked = alt.VConcatChart(vconcat=lines, title=title).resolve_scale(color="shared", shape="shared")
    styled = framed(stacked, live=False)
    assert isinstance(styled, alt.VConcatChart)
    return styled


def _panel(rows: list[dict[str, Any]], title: str, color: alt.Color, shape: alt.Shape) -> alt.LayerChart:
    sizes = sorted({row["batch_size"] for row in rows})
    rates = [row["rate"] for row in rows]
    x = alt.X(
        "batch_size:Q", title="Batch size", axis=alt.Axis(values=sizes, format="d", grid=False),
        scale=alt.Scale(type="log", domain=[sizes[0] / 1.4, sizes[-1] * 1.4], nice=False),
    )  # fmt: skip
    powers = [10.0**power for power in range(8) if min(rates) / 3 <= 10.0**power <= max(rates) * 3]
    y = alt.Y(
        "rate:Q", title=None, axis=alt.Axis(values=powers, format="~s"),
        scale=alt.Scale(type="log", domain=[min(rates) / 1.6, max(rates) * 1.6], nice=False),
    )  # fmt: skip
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y, color=color)
    floor = base.transform_filter(alt.datum.series == FLOOR).mark_line(strokeDash=[5, 3], strokeWidth=1.5)
    ours = base.transform_filter(alt.datum.series == OURS).mark_line(strokeWidth=3)
    lines = base.transform_filter(f"datum.series !== '{FLOOR}' && datum.series !== '{OURS}'").mark_line(strokeWidth=1.2)
    points = base.transform_filter(alt.datum.series != FLOOR).mark_point(filled=True, size=55, opacity=1)
    heading = alt.TitleParams(title, anchor="start", fontSize=12, fontWeight="bold", offset=8)
    layers = [lines, ours, points.encode(shape=shape), floor]
    return alt.LayerChart(layer=layers, width=310, height=190, title=heading)


def _rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    titles = {cell["workload"]: cell["title"] for cell in document["cells"]}
    tiers, best = variants(document, "ours"), best_tier(document)
    found: list[dict[str, Any]] = []

    def add(case: tuple[str, int], series: str, seconds: float) -> None:
        found.append({"title": titles[case[0]], "batch_size": case[1], "series": series, "rate": 1 / seconds})

    for case, known in medians(document).items():
        for variant, seconds in known.items():
            if variant not in tiers:
                add(case, variant, seconds)
        if case in best:
            add(case, OURS, best[case][1])
        if len(tiers) > 1 and tiers[0] in known:
            add(case, REFERENCE, known[tiers[0]])
    for one in document["floors"]:
        add((one["workload"], one["batch_size"]), FLOOR, one["seconds"])
    return found
