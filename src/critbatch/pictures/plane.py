"""The loss on a plane through a solution, as colours and contours."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np

from ..plots import BLACK, Drawing, Row, framed

SIDE, LEVELS = 330, 9
OVERLAP = 0.08  # of a rectangle's width
AXIS = alt.Axis(tickCount=5, grid=False)


def draw_plane(
    losses: np.ndarray, first_positions: Sequence[float], second_positions: Sequence[float], *,
    levels: Sequence[float] | None = None, marks: Mapping[str, tuple[float, float]] | None = None,
    axes: tuple[str, str] = ("First direction (share of the filters' norms)", "Second direction"),
    loss: str = "Mean loss",
) -> Drawing:  # fmt: skip
    """Return the loss on a plane: its logarithm as a colour at each place, and contours at the levels marked beside.

    Contours follow the linear interpolation between places; a level that falls on a saddle of four places is cut in one
    of the two ways. Places whose loss is not finite or not above 0 stay empty, and contours keep away from them.

    Source: Li et al. (2018), arXiv:1712.09913, who take filter-normalised directions:
    `critbatch.minima.directions.random_direction`. With other directions rescaling layers changes the picture.

    Args:
        losses: Shape (first position, second position), as `critbatch.minima.lines.plane` returns them.
        first_positions: Increasing, horizontal.
        second_positions: Increasing, vertical.
        levels: Losses of the contours, above 0; 9 that divide the range evenly in logarithms where None.
        marks: Points by name, drawn as crosses; the solution at (0, 0) where None.
        axes: Titles of the two axes.
        loss: Title of the legend.

    Raises:
        ValueError: If shapes do not fit, positions do not increase, no loss is above 0 and finite, or a level is not above 0.
    """
    found, across, up = (np.asarray(one, dtype=float) for one in (losses, first_positions, second_positions))
    if min(len(across), len(up)) < 2 or found.shape != (len(across), len(up)):
        raise ValueError(
            f"`draw_plane`: losses of shape {found.shape} for {len(across)} and {len(up)} positions. Give a row for each "
            "of the first positions, a column for each of the second, and at least 2 of both."
        )
    if not ((np.diff(across) > 0).all() and (np.diff(up) > 0).all()):
        raise ValueError("`draw_plane`: positions must increase. Sort them, and the losses with them.")
    seen = np.where(np.isfinite(found) & (found > 0), found, np.nan)
    if np.isnan(seen).all():
        raise ValueError("`draw_plane`: no loss is finite and above 0. Take a smaller plane.")
    low, high = float(np.nanmin(seen)), float(np.nanmax(seen))
    chosen = np.geomspace(low, high, LEVELS + 2)[1:-1].tolist() if levels is None else [float(one) for one in levels]
    if not all(0 < one < np.inf for one in chosen):
        raise ValueError(f"`draw_plane(levels={chosen})`: levels must be above 0 and finite.")
    x, y = (
        alt.X("x:Q", title=axes[0], scale=_over(across), axis=AXIS),
        alt.Y("y:Q", title=axes[1], scale=_over(up), axis=AXIS),
    )
    legend = alt.Legend(
        title=loss,
        orient="right",
        direction="vertical",
        type="gradient",
        gradientLength=260,
        offset=12,
        values=chosen,
        format=".2~g",
    )
    shade = alt.Color("loss:Q", scale=alt.Scale(type="log", scheme="viridis", domain=[low, high]), legend=legend)
    hints = [alt.Tooltip(name, format=".4g") for name in ("at:Q", "up:Q", "loss:Q")]
    tiles = alt.Chart(alt.Data(values=_tiles(seen, across, up))).mark_rect(clip=True)
    lines = alt.Chart(alt.Data(values=_contours(seen, across, up, chosen))).mark_rule(color="#FFFFFF", strokeWidth=1)
    drawn = alt.layer(
        tiles.encode(x=x, x2="x2:Q", y=y, y2="y2:Q", color=shade, tooltip=hints),
        lines.encode(x=x, x2="x2:Q", y=y, y2="y2:Q", tooltip=[alt.Tooltip("level:Q", format=".3g")]),
        *_marks({"solution": (0.0, 0.0)} if marks is None else marks, x, y),
    )
    return framed(drawn.properties(width=SIDE, height=SIDE), live=False)


def _over(positions: np.ndarray) -> alt.Scale:
    return alt.Scale(domain=[float(positions[0]), float(positions[-1])], nice=False)


def _tiles(losses: np.ndarray, across: np.ndarray, up: np.ndarray) -> list[Row]:
    """Return a rectangle for each place, up to half the way to the next ones, and a little beyond.

    Without that little the page would shine through between them.
    """
    (left, right), (below, above) = _edges(across), _edges(up)
    return [
        {
            "x": left[i], "x2": right[i], "y": below[j], "y2": above[j], "at": float(across[i]), "up": float(up[j]),
            "loss": float(losses[i, j]),
        }
        for i, j in np.ndindex(*losses.shape)
        if not np.isnan(losses[i, j])
    ]  # fmt: skip


def _edges(positions: np.ndarray) -> tuple[list[float], list[float]]:
    edges = np.concatenate([positions[:1], (positions[:-1] + positions[1:]) / 2, positions[-1:]])
    return edges[:-1].tolist(), (edges[1:] + OVERLAP * np.diff(edges)).tolist()


def _contours(losses: np.ndarray, across: np.ndarray, up: np.ndarray, levels: Sequence[float]) -> list[Row]:
    """Return the straight pieces of each level's contour: one or two in every square of four places that it crosses.

    Source: Lorensen and Cline (1987), Computer Graphics 21, 163-169 (marching cubes), in two dimensions.
    """
    pieces: list[Row] = []
    for level in levels:
        for i, j in np.ndindex(len(across) - 1, len(up) - 1):
            corners = [(i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1)]
            if np.isnan([losses[at] for at in corners]).any():
                continue
            crossed = [
                _between(losses, across, up, level, one, other)
                for one, other in zip(corners, corners[1:] + corners[:1], strict=True)
                if (losses[one] < level) != (losses[other] < level)
            ]
            for (x, y), (x2, y2) in zip(crossed[::2], crossed[1::2], strict=True):
                pieces.append({"x": x, "y": y, "x2": x2, "y2": y2, "level": level})
    return pieces


def _between(
    losses: np.ndarray, across: np.ndarray, up: np.ndarray, level: float, one: tuple[int, int], other: tuple[int, int]
) -> tuple[float, float]:  # fmt: skip
    share = (level - losses[one]) / (losses[other] - losses[one])
    ends = ((across[one[0]], across[other[0]]), (up[one[1]], up[other[1]]))
    x, y = (float(start + share * (end - start)) for start, end in ends)
    return x, y


def _marks(points: Mapping[str, tuple[float, float]], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    if not points:
        return []
    rows: list[Row] = [{"x": float(at), "y": float(height), "name": name} for name, (at, height) in points.items()]
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y)
    return [
        base.mark_point(shape="cross", size=90, filled=True, color="#FFFFFF", stroke=BLACK, strokeWidth=1, opacity=1),
        base.mark_text(dy=-12, fontSize=11, fontWeight="bold", color="#FFFFFF", stroke=BLACK, strokeWidth=0.4).encode(
            text="name:N"
        ),
    ]
