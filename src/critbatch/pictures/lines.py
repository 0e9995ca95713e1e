"""The loss and accuracies along a line between two solutions, with the widths of the minima."""

from collections.abc import Mapping

import altair as alt
import numpy as np

from ..minima.lines import FlatWidth, Line
from ..plots import BLACK, BLUE, GREEN, PURPLE, VERMILION, Drawing, Row, framed, log_axis, series_scale

WIDTH, HEIGHT, METRIC_HEIGHT = 460, 210, 110
WIDTH_COLOURS = (VERMILION, GREEN, PURPLE, BLACK)


def draw_line(
    along: Line, *, widths: Mapping[str, FlatWidth] | None = None, ends: tuple[str, str] = ("first", "second"),
    loss: str = "Mean loss",
) -> Drawing:  # fmt: skip
    """Return the loss along a line, a panel for every metric below it, and each width as a bar with its length.

    The loss has a logarithmic axis where all losses are above 0. Losses that are not finite are left out, as gaps.

    Source: Goodfellow et al. (2015), arXiv:1412.6544; Keskar et al. (2016), arXiv:1609.04836, Figure 3.

    Args:
        along: As `critbatch.minima.lines.interpolation` or `line` returns it.
        widths: By the name that the legend gives them, as `critbatch.minima.lines.flat_width` returns them. A width that
            the line's end cuts off is marked with "at least".
        ends: What is at positions 0 and 1; marked where the line holds them.
        loss: Title of the axis.

    Raises:
        ValueError: If no loss is finite, or a column is not as long as the line.
    """
    columns = {loss: along.loss, **along.metrics}
    if wrong := [name for name, column in columns.items() if np.shape(column) != np.shape(along.positions)]:
        raise ValueError(
            f"`draw_line`: {wrong[0]!r} has shape {np.shape(columns[wrong[0]])}, the positions have "
            f"{np.shape(along.positions)}. Give one value for each position."
        )
    finite = along.loss[np.isfinite(along.loss)]
    if not len(finite):
        raise ValueError("`draw_line`: no loss is finite. Take a shorter line, or solutions that did not diverge.")
    x = alt.X(
        "position:Q", title=f"Position on the line: {ends[0]} at 0, {ends[1]} at 1 (distance {along.length:.3g})",
        scale=alt.Scale(domain=[float(along.positions[0]), float(along.positions[-1])], nice=False),
        axis=alt.Axis(grid=False, tickCount=7),
    )  # fmt: skip
    low, high = float(finite.min()), float(finite.max())
    room = 0.06 + 0.06 * len(widths or {})  # above the curve, for the bars
    axis = (
        log_axis("value", loss, [low, high * (high / low) ** room], widen=1.5)
        if low > 0
        else alt.Y("value:Q", title=loss, scale=alt.Scale(domain=[low, high + room * ((high - low) or 1)]))
    )
    first = alt.layer(
        *_ends(along, x), *_curve(along.positions, along.loss, x, axis, BLUE), *_bars(widths or {}, x)
    ).properties(width=WIDTH, height=HEIGHT)
    others = [
        alt.layer(
            *_ends(along, x),
            *_curve(along.positions, column, x, alt.Y("value:Q", title=name, scale=alt.Scale(zero=False)), BLACK),
        ).properties(width=WIDTH, height=METRIC_HEIGHT)
        for name, column in along.metrics.items()
    ]
    return framed(alt.vconcat(first, *others, spacing=36), live=False)


def _curve(positions: np.ndarray, values: np.ndarray, x: alt.X, y: alt.Y, colour: str) -> list[alt.Chart]:
    rows: list[Row] = [
        {"position": float(position), "value": float(value) if np.isfinite(value) else None}
        for position, value in zip(positions, values, strict=True)
    ]
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y)
    hints = [alt.Tooltip("position:Q", format=".3g"), alt.Tooltip("value:Q", format=".4g")]
    return [
        base.mark_line(color=colour, strokeWidth=1.5, invalid="break-paths-show-domains"),
        base.mark_point(color=colour, filled=True, size=24, opacity=1, invalid="filter").encode(tooltip=hints),
    ]


def _ends(along: Line, x: alt.X) -> list[alt.Chart]:
    inside: list[Row] = [{"position": at} for at in (0.0, 1.0) if along.positions[0] <= at <= along.positions[-1]]
    rule = alt.Chart(alt.Data(values=inside)).mark_rule(color="#8A919B", strokeDash=[3, 3])
    return [rule.encode(x=x)] if inside else []


def _bars(widths: Mapping[str, FlatWidth], x: alt.X) -> list[alt.Chart]:
    """Return a bar for each width, above each other at the top of the panel, named in a legend with its length."""
    if not widths:
        return []
    labels = [
        f"{name}: {'at least ' if one.is_cut else ''}{one.width:.3g}" for name, one in widths.items()
    ]  # fmt: skip
    colours = alt.Scale(domain=labels, range=series_scale(WIDTH_COLOURS, len(labels)))
    color = alt.Color("width:N", scale=colours, legend=alt.Legend(title="Width"))
    drawn = []
    for place, (label, one) in enumerate(zip(labels, widths.values(), strict=True)):
        height = alt.YValue(8 + 9 * place)
        rows: list[Row] = [{"position": one.low, "to": one.high, "width": label}]
        bar = alt.Chart(alt.Data(values=rows)).mark_rule(strokeWidth=3)
        drawn.append(bar.encode(x=x, x2="to:Q", y=height, color=color))
    return drawn
