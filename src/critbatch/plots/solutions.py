"""Sharpness, width and gradient noise of the solutions against the batch size, with intervals."""

import altair as alt

from . import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    VERMILION,
    Drawing,
    Result,
    Row,
    batch_size_axis,
    batch_sizes,
    estimate,
    framed,
    number,
    point,
    tooltip,
)

TITLE = "Solutions: sharpness, width and gradient noise"
COLOURS = {"sharpness": VERMILION, "loss": BLUE, "width": ORANGE, "noise": GREEN}
WARNING = (
    "Sharpness that changes when layers are rescaled, though the function stays the same, can be made arbitrary: of the "
    "measures of sharpness here, adaptive sharpness alone does not. Sharpness of no kind recommends a batch size."
)
_FIELD = "solutions_measure"


def describe(result: Result) -> str:
    """Return what the chart shows, with the warning."""
    return (
        "Where training ends at each batch size's best learning rate: geometric means over seeds, on the same training "
        "examples in evaluation mode whatever the batch size was. The line is the straight one from the solution of the "
        f"smallest batch size of 16 or more, trained from the same start. Compare sharpness at equal training loss. {WARNING}"
    )


def missing(result: Result) -> str | None:
    """Return why there is no chart, or None if there is one."""
    return None if _points(result) else "Solutions were not measured in this sweep: `critbatch run --minima` does."


def chart(result: Result) -> Drawing:
    """Return one panel with a switch of the measure."""
    points = _points(result)
    names = list(dict.fromkeys(row["measure"] for row in points))
    picked = alt.param(name=_FIELD, value=names[0], bind=alt.binding_select(options=names, name="Measure: "))
    layers = _layers(points, small=False).transform_filter(f"datum.measure === {_FIELD}").add_params(picked)
    return framed(layers.properties(width="container", height=280), live=True)


def still(result: Result) -> Drawing:
    """Return one small panel for each measure."""
    points = _points(result)
    names = list(dict.fromkeys(row["measure"] for row in points))
    header = alt.Header(title=None, labelAnchor="start", labelFontWeight="bold", labelPadding=8)
    facet = alt.Facet(field="measure", type="nominal", sort=names, header=header)
    panels = _layers(points, small=True).properties(width=190, height=120)
    faceted = panels.facet(facet=facet, columns=3, spacing={"row": 54, "column": 48}, bounds="flush")
    title = alt.TitleParams(
        "Against batch size (examples per step); units are in the table",
        anchor="start",
        fontSize=12,
        fontWeight="normal",
        color=INK,
    )
    return framed(
        faceted.properties(title=title).resolve_scale(y="independent").resolve_axis(x="independent"), live=False
    )


def rows(result: Result) -> list[Row]:
    """Return a row for each measure and batch size."""
    return [
        {
            "about": row.get("about"),
            "measure": row.get("measure"),
            "batch size": row.get("batch_size"),
            "learning rate": number(row.get("learning_rate")),
            "value": estimate(row, "value"),
            "unchanged by rescaling": "yes" if row.get("invariant") else "no",
        }
        for row in result.get("solutions") or []
    ]


def _points(result: Result) -> list[Row]:
    points = [
        point(
            estimate(row, "value"), batch_size=row["batch_size"], measure=str(row.get("measure")),
            about=str(row.get("about")), rate=number(row.get("learning_rate")),
        )
        for row in result.get("solutions") or []
        if row.get("batch_size")
    ]  # fmt: skip
    return [row for row in points if row["value"] is not None and row["value"] > 0 and row["low"] > 0]


def _layers(points: list[Row], *, small: bool) -> alt.LayerChart:
    x = batch_size_axis(batch_sizes(points)).title(None if small else "Batch size (examples per step)")
    axis = alt.Axis(format=".2~g", tickCount=4 if small else 8)
    scale = alt.Scale(type="log", nice=False, padding=8)
    y = alt.Y("value:Q", title=None, scale=scale, axis=axis)
    abouts = [about for about in COLOURS if any(row["about"] == about for row in points)]
    colours = alt.Scale(domain=abouts, range=[COLOURS[about] for about in abouts])
    color = alt.Color("about:N", title=None, scale=colours, legend=alt.Legend() if small else None)
    base = alt.Chart().encode(x=x)
    layers = [
        base.mark_line(color="#B9BEC6", strokeWidth=1).encode(y=y),
        base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q", title=None, scale=scale, axis=axis), y2="high:Q", color=color),
        base.mark_point(filled=True, opacity=1, size=70 if small else 110).encode(
            y=y, color=color, tooltip=tooltip(batch_size="batch size", rate="learning rate", measure="measure")
        ),
    ]  # fmt: skip
    return alt.LayerChart(layer=layers, data=alt.Data(values=points))
