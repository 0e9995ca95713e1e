"""The information plane: what layers know of the inputs and of the targets as training goes on."""

from collections.abc import Mapping, Sequence

import altair as alt
import numpy as np

from ..plots import GRAY, SHAPES, Drawing, Row, framed, series_scale

SIDE = 330


def draw_information(
    input_information: np.ndarray, target_information: np.ndarray, *, steps: Sequence[float],
    layers: Sequence[str] | None = None, ceiling: tuple[float, float] | None = None,
) -> Drawing:  # fmt: skip
    """Return I(T;Y) against I(X;T) in bits: a line for each layer, a colour for the step.

    What bins measure belongs to the bins: draw several binnings before a movement to the left is called compression
    (Saxe et al. (2018), On the information bottleneck theory of deep learning, ICLR).

    Source: Shwartz-Ziv and Tishby (2017), arXiv:1703.00810, Figure 3.

    Args:
        input_information: I(X;T), shape (step, layer), in bits. Places that are not finite are left out.
        target_information: I(T;Y), the same shape.
        steps: Increasing, of each row; coloured on a logarithmic scale, 0 as the first of the others.
        layers: Name of each column; "layer 1", ... where None.
        ceiling: H(X) and H(Y) in bits, which no layer can pass: log2 of the number of examples, and the entropy of the
            classes. Drawn as broken lines.

    Raises:
        ValueError: If shapes do not fit, the steps do not increase, or no place is finite.
    """
    inputs, targets = (np.asarray(one, dtype=float) for one in (input_information, target_information))
    names = [f"layer {place}" for place in range(1, inputs.shape[-1] + 1)] if layers is None else list(layers)
    if inputs.ndim != 2 or targets.shape != inputs.shape or inputs.shape != (len(steps), len(names)):
        raise ValueError(
            f"`draw_information`: information of shapes {inputs.shape} and {targets.shape} for {len(steps)} steps and "
            f"{len(names)} layers. Give a row for each step and a column for each layer."
        )
    if not (np.diff(np.asarray(steps, dtype=float)) > 0).all():
        raise ValueError("`draw_information(steps=...)`: must increase, since lines follow them.")
    first = min((float(step) for step in steps if step > 0), default=1.0)
    rows: list[Row] = [
        {
            "input": float(inputs[row, column]), "target": float(targets[row, column]), "layer": name,
            "step": float(step), "shade": max(float(step), first),
        }
        for column, name in enumerate(names)
        for row, step in enumerate(steps)
        if np.isfinite([inputs[row, column], targets[row, column]]).all()
    ]  # fmt: skip
    if not rows:
        raise ValueError("`draw_information`: no place is finite. Measure before the run diverges.")
    return framed(_layers(rows, names, ceiling).properties(width=SIDE, height=SIDE), live=False)


def information_along(
    readings: Sequence[Mapping[str, float]], names: Sequence[tuple[str, str]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return I(X;T) and I(T;Y) of a training, each of shape (step, layer), in bits.

    Args:
        readings: What `critbatch.measure(InformationPlane(...), ...)` returned at each step.
        names: For each layer the two quantities, as `InformationPlane.names(layer)` gives them.

    Raises:
        ValueError: If a reading lacks one of them.
    """
    wanted = {name for pair in names for name in pair}
    for place, reading in enumerate(readings):
        if missing := sorted(wanted - set(reading)):
            raise ValueError(f"`information_along`: reading {place} has no {missing[0]!r}. Measure as many layers.")
    inputs, targets = (np.array([[reading[pair[which]] for pair in names] for reading in readings]) for which in (0, 1))
    return inputs, targets


def _layers(rows: list[Row], names: Sequence[str], ceiling: tuple[float, float] | None) -> alt.LayerChart:
    ends = [(float(row["input"]), float(row["target"])) for row in rows] + ([ceiling] if ceiling else [])
    far, high = (alt.Scale(domain=[0, 1.06 * max(part) or 1], nice=False) for part in zip(*ends, strict=True))
    x, y = alt.X("input:Q", title="I(X;T) (bits)", scale=far), alt.Y("target:Q", title="I(T;Y) (bits)", scale=high)
    shades = alt.Scale(type="log", scheme="plasma") if len({row["shade"] for row in rows}) > 1 else alt.Scale()
    side = alt.Legend(title="Step", orient="right", direction="vertical", gradientLength=140, format="~s", offset=12)
    shapes = alt.Scale(domain=list(names), range=series_scale(SHAPES, len(names)))
    shape = alt.Shape("layer:N", title=None, scale=shapes, legend=alt.Legend() if len(names) > 1 else None)
    hints = [alt.Tooltip("layer:N"), alt.Tooltip("step:Q"), alt.Tooltip("input:Q"), alt.Tooltip("target:Q")]
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y)
    drawn: list[alt.Chart] = [
        base.mark_line(color="#B9BEC6", strokeWidth=1).encode(detail="layer:N", order="step:Q"),
        base.mark_point(filled=True, size=55, opacity=1).encode(
            color=alt.Color("shade:Q", scale=shades, legend=side), shape=shape, tooltip=hints
        ),
    ]
    if ceiling:
        limits: list[Row] = [{"input": ceiling[0], "target": ceiling[1]}]
        rule = alt.Chart(alt.Data(values=limits)).mark_rule(color=GRAY, strokeDash=[4, 3])
        drawn += [rule.encode(x=x), rule.encode(y=y)]
    return alt.LayerChart(layer=drawn)
