"""A trajectory in its principal planes, with the area that it sweeps, and the memory of its increments."""

from collections.abc import Sequence

import altair as alt
import numpy as np

from ..estimate import Estimate
from ..plots import BLUE, FONT, INK, PALETTE, Drawing, Row, framed, series_scale
from ..trajectories.circulation import plane_circulations, principal_coordinates
from ..trajectories.increments import increment_autocorrelation, white_band

SIDE, MOST_POINTS, LEVEL = 250, 2000, 0.99
PAIRS = ((1, 2), (3, 4))


def draw_planes(
    trajectory: np.ndarray, *, pairs: Sequence[tuple[int, int]] = PAIRS, level: float = 0.95, step: str = "step"
) -> Drawing:
    """Return a trajectory in planes of two principal components, each with its signed area rate and interval.

    The rate is above 0 where it goes round from the first component towards the second. An interval that holds 0 is no
    sign of a current, however much the picture looks like a loop: a random walk looks like one, and sweeps area.

    Source: `critbatch.trajectories.circulation`; Chaudhari and Soatto (2017), arXiv:1710.11029, for the question.

    Args:
        trajectory: Shape (time, coordinate), stationary. Of more than 2,000 times as many are drawn, evenly spaced; the
            rates are of all.
        pairs: Components of each plane, from 1.
        level: Confidence level of each interval by itself.
        step: What a time is.

    Raises:
        ValueError: If there are no pairs, or one is not of two components that the trajectory has.
    """
    highest = max((max(pair) for pair in pairs), default=0)
    if not pairs or any(one < 1 or one == other for pair in pairs for one, other in (pair, pair[::-1])):
        raise ValueError(f"`draw_planes(pairs={tuple(pairs)})`: give pairs of two components, counted from 1.")
    coordinates = principal_coordinates(trajectory, highest)
    chosen = np.unique(np.linspace(0, len(coordinates) - 1, min(len(coordinates), MOST_POINTS)).round().astype(int))
    panels = []
    for first, second in pairs:
        plane = coordinates[:, [first - 1, second - 1]]
        (found,) = plane_circulations(plane, level=level)
        panels.append(_panel(plane[chosen], chosen, found.area_rate, (first, second), step))
    return framed(alt.hconcat(*panels, spacing=40), live=False)


def draw_autocorrelation(
    trajectory: np.ndarray, *, most_lag: int = 50, names: Sequence[str] | None = None, lag: str = "steps"
) -> Drawing:
    """Return the autocorrelation of each coordinate's increments, with the band that holds 99% of white noise at each lag.

    Of lags beyond the band one in a hundred is there by chance. Any stationary trajectory has negative ones at short lags.

    Source: Bartlett (1946) for the band, Chaudhari and Soatto (2017), arXiv:1710.11029, for the picture;
    `critbatch.trajectories.increments`.

    Args:
        trajectory: Shape (time, coordinate), few coordinates (`critbatch.trajectories.circulation.principal_coordinates`).
        most_lag: Below the number of increments.
        names: Of the coordinates; "component 1", ... where None.
        lag: Unit of a lag.

    Raises:
        ValueError: If there are not as many names as coordinates, or too few increments.
    """
    found = increment_autocorrelation(trajectory, most_lag)
    labels = [f"component {one}" for one in range(1, found.shape[1] + 1)] if names is None else list(names)
    if len(labels) != found.shape[1]:
        raise ValueError(
            f"`draw_autocorrelation`: {len(labels)} names for {found.shape[1]} coordinates. Give one for each."
        )
    band = white_band(len(trajectory) - 1, level=LEVEL)
    rows: list[Row] = [
        {"lag": at, "value": float(value), "coordinate": label}
        for label, column in zip(labels, found.T, strict=True)
        for at, value in enumerate(column, 1)
        if np.isfinite(value)
    ]
    x = alt.X(
        "lag:Q", title=f"Lag ({lag})", axis=alt.Axis(grid=False, format="d"), scale=alt.Scale(nice=False, padding=6)
    )
    y = alt.Y("value:Q", title=f"Autocorrelation of increments; grey: {LEVEL:.0%} of white noise, each lag by itself")
    color = alt.Color(
        "coordinate:N", title=None, scale=alt.Scale(domain=labels, range=series_scale(PALETTE, len(labels))),
        legend=alt.Legend() if len(labels) > 1 else None,
    )  # fmt: skip
    limits: list[Row] = [{"lag": at, "low": -band, "high": band} for at in (1, most_lag)]
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y, color=color)
    area = alt.Chart(alt.Data(values=limits)).mark_area(color="#B9BEC6", opacity=0.5)
    hints = [alt.Tooltip("coordinate:N"), alt.Tooltip("lag:Q"), alt.Tooltip("value:Q", format=".3f")]
    drawn = alt.LayerChart(layer=[
        area.encode(x=x, y=alt.Y("low:Q", title=y["title"]), y2="high:Q"),
        base.mark_line(strokeWidth=1.2), base.mark_point(filled=True, size=22, opacity=1).encode(tooltip=hints),
    ])  # fmt: skip
    return framed(drawn.properties(width=2 * SIDE, height=220), live=False)


def _panel(
    plane: np.ndarray, times: np.ndarray, rate: Estimate, pair: tuple[int, int], step: str
) -> alt.LayerChart:  # fmt: skip
    rows: list[Row] = [
        {"x": float(x), "y": float(y), "time": int(time)} for (x, y), time in zip(plane, times, strict=True)
    ]
    said = [f"area rate {_signed(rate.value)} per {step}", f"{rate.level:.0%} interval {_interval(rate)}"]
    title = alt.TitleParams(
        said, anchor="start", frame="group", font=FONT, fontSize=11, fontWeight="normal", color=INK, offset=24
    )
    axis, scale = alt.Axis(tickCount=5, format=".3~g"), alt.Scale(zero=False)
    x = alt.X("x:Q", title=f"Component {pair[0]}", axis=axis, scale=scale)
    y = alt.Y("y:Q", title=f"Component {pair[1]}", axis=axis, scale=scale)
    shade = alt.Color(
        "time:Q", title=step.capitalize(), scale=alt.Scale(scheme="viridis"),
        legend=alt.Legend(orient="right", direction="vertical", gradientLength=120, format="d", offset=12),
    )  # fmt: skip
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y)
    line = base.mark_line(color=BLUE, strokeWidth=0.6, opacity=0.15).encode(order="time:Q")
    dots = base.mark_point(filled=True, size=12, opacity=0.9).encode(
        color=shade, tooltip=[alt.Tooltip("time:Q", title=step)]
    )
    return alt.LayerChart(layer=[line, dots]).properties(width=SIDE, height=SIDE, title=title)


def _interval(rate: Estimate) -> str:
    if rate.low is None or rate.high is None:
        return f"not known: {rate.reason}" if rate.reason else "not known"
    return f"{_signed(rate.low)} to {_signed(rate.high)}"


def _signed(value: float | None) -> str:
    return "not known" if value is None else f"{value:+.3g}"
