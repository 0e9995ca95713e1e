"""Spectra: the eigenvalues of a Hessian or of a gradient noise covariance, one by one or as a density."""

import altair as alt
import numpy as np

from ..minima.density import Density
from ..plots import BLUE, GRAY, ORANGE, Drawing, Row, framed, log_axis, same_axis

WIDTH, HEIGHT = 460, 260
DEPTH = 1e-6  # of the highest density: what is drawn below it


def draw_eigenvalues(
    values: np.ndarray, *, null: np.ndarray | None = None, quantity: str = "Size of the eigenvalue",
    name: str = "this matrix", null_name: str = "null", floor: float = 1e-12,
) -> Drawing:  # fmt: skip
    """Return eigenvalues by rank on two logarithmic axes, negative ones by their size in another colour.

    Positive and negative ones are ranked apart, each from the largest in size. Those below `floor` times the largest in
    size are rounding, as a rule, and left out.

    Source: the way Sagun et al. (2016), arXiv:1611.07476, look at Hessians and Chaudhari and Soatto (2017),
    arXiv:1710.11029, at gradient noise.

    Args:
        values: Shape (value,), in any order, not all 0.
        null: Shape (other value,): what the values would be if there were nothing to see, such as those of isotropic noise
            with the same trace. Drawn in grey.
        quantity: Title of the axis, with the unit.
        name: Of the values, in the legend.
        null_name: Of the null.
        floor: Relative to the largest size, at least 0 and below 1.

    Raises:
        ValueError: If values are not a row of finite numbers with one that is not 0, or the floor is out of range.
    """
    if not 0 <= floor < 1:
        raise ValueError(f"`draw_eigenvalues(floor={floor})`: must be at least 0 and below 1.")
    own = _checked(values, "values")
    above, below = (f"{name}, above 0", f"{name}, below 0 (size)") if (own < 0).any() else (name, "")
    series = {above: (own[own > 0], BLUE), below: (-own[own < 0], ORANGE)}
    if null is not None:
        series[null_name] = (np.abs(_checked(null, "null")), GRAY)
    rows: list[Row] = [
        {"rank": rank, "size": float(size), "series": label}
        for label, (sizes, _) in series.items()
        for rank, size in enumerate(np.sort(sizes)[::-1], 1)
        if size > floor * np.abs(own).max()
    ]
    shown = [label for label in series if any(row["series"] == label for row in rows)]
    colours = alt.Scale(domain=shown, range=[series[label][1] for label in shown])
    legend = alt.Legend(title=None) if len(shown) > 1 else None
    rank = alt.X("rank:Q", title="Rank", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(grid=False, format="d"))
    axis = log_axis("size", quantity, [row["size"] for row in rows])
    axis = axis.axis(values=axis["axis"]["values"], format="~e")
    chart = alt.Chart(alt.Data(values=rows)).mark_point(filled=True, size=22, opacity=0.9)
    drawn = chart.encode(
        x=rank, y=axis,
        color=alt.Color("series:N", scale=colours, legend=legend),
        tooltip=[alt.Tooltip("series:N"), alt.Tooltip("rank:Q"), alt.Tooltip("size:Q", format=".4g")],
    )  # fmt: skip
    return framed(alt.layer(drawn).properties(width=WIDTH, height=HEIGHT), live=False)


def draw_density(
    density: Density, *, null: Density | None = None, name: str = "this matrix", null_name: str = "null",
    quantity: str = "Eigenvalue",
) -> Drawing:  # fmt: skip
    """Return a spectral density on a logarithmic axis, with a band of two standard errors over probes.

    What is below a millionth of the highest density is cut off: there a smoothed density shows the tail of the smoothing,
    whose width the chart states.

    Source: Ghorbani, Krishnan and Xiao (2019), arXiv:1901.10159.

    Args:
        density: As `critbatch.minima.density.Quadrature.density` returns it.
        null: Another one on any grid, drawn in grey.
        name: Of the density, in the legend.
        null_name: Of the null.
        quantity: Title of the horizontal axis, with the unit.

    Raises:
        ValueError: If the density is nowhere above 0, or its arrays have different shapes.
    """
    parts = {name: (density, BLUE)} | ({} if null is None else {null_name: (null, GRAY)})
    for part, _ in parts.values():
        if part.grid.ndim != 1 or not part.grid.shape == part.values.shape == part.errors.shape:
            shapes = part.grid.shape, part.values.shape, part.errors.shape
            raise ValueError(f"`draw_density`: grid, values and errors have the shapes {shapes}. Give one row of each.")
    top = float(density.values.max(initial=0.0))
    if not top > 0:
        raise ValueError(f"`draw_density`: the highest density is {top}, it must be above 0. Widen grid or smoothing.")
    floor = top * DEPTH
    rows: list[Row] = [
        {
            "at": at, "density": value, "series": label, "low": max(value - 2 * error, floor),
            "high": max(value + 2 * error, floor),
        }
        for label, (part, _) in parts.items()
        for at, value, error in zip(part.grid.tolist(), part.values.tolist(), part.errors.tolist(), strict=True)
    ]  # fmt: skip
    colours = alt.Scale(domain=list(parts), range=[colour for _, colour in parts.values()])
    color = alt.Color("series:N", scale=colours, legend=alt.Legend(title=None) if null is not None else None)
    title = f"Density (smoothed with a normal of width {density.width:.3g})"
    y = log_axis("density", title, [1.3 * floor, max(row["high"] for row in rows)])
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("at:Q", title=quantity, scale=alt.Scale(nice=False), axis=alt.Axis(grid=False)), color=color
    )
    drawn = alt.layer(
        base.mark_area(opacity=0.25, clip=True).encode(y=same_axis("low", y), y2="high:Q"),
        base.mark_line(strokeWidth=1.5, clip=True).encode(y=y).transform_filter(f"datum.density >= {floor / 10}"),
    )
    return framed(drawn.properties(width=WIDTH, height=HEIGHT), live=False)


def _checked(values: np.ndarray, name: str) -> np.ndarray:
    """Return eigenvalues in double precision.

    Raises:
        ValueError: If they are not a row of finite numbers, one of them not 0.
    """
    found = np.asarray(values, dtype=float)
    if found.ndim != 1 or not np.isfinite(found).all() or not found.any():
        raise ValueError(
            f"`draw_eigenvalues({name}=...)`: shape {found.shape}, {int((~np.isfinite(found)).sum())} not finite. Give one "
            "row of finite eigenvalues, not all 0."
        )
    return found
