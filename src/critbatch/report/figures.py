"""A chart, made ready for the page: specification, still picture and table."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

import vl_convert
from markupsafe import Markup

from ..plots import Drawing, Result, Row
from .tables import Table, table


@runtime_checkable
class Plot(Protocol):
    """What a file of `plots/` offers."""

    @property
    def TITLE(self) -> str:
        """Return the chart's heading."""

    @property
    def describe(self) -> Callable[[Result], str]:
        """Return what the chart shows."""

    @property
    def missing(self) -> Callable[[Result], str | None]:
        """Return why there is no chart."""

    @property
    def chart(self) -> Callable[[Result], Drawing]:
        """Return the interactive chart."""

    @property
    def still(self) -> Callable[[Result], Drawing]:
        """Return the picture."""

    @property
    def rows(self) -> Callable[[Result], list[Row]]:
        """Return the table."""


@final
@dataclass(frozen=True)
class Figure:
    """One chart of the page. `reason` says why there is no picture; the table may be there without one."""

    name: str
    heading: str
    description: str
    reason: str | None
    specification: dict[str, Any] | None
    picture: Markup
    table: Table


def figure(name: str, plot: Plot, result: Result) -> Figure:
    """Return one chart of `result` for the page. Tests say whether it keeps Vega-Lite's schema: that is slow."""
    reason, rows = plot.missing(result), table(plot.rows(result))
    if reason is not None:
        return Figure(name, plot.TITLE, plot.describe(result), reason, None, Markup(""), rows)
    specification = plot.chart(result).to_dict(validate=False)
    picture = _picture(plot.still(result), prefix=f"still-{name}-")
    return Figure(name, plot.TITLE, plot.describe(result), None, specification, picture, rows)


def block(value: Any) -> Markup:
    """Return a value as JSON that can stand inside a script element: no `<` remains in it."""
    text = json.dumps(value, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def specifications(figures: Iterable[Figure]) -> dict[str, Any]:
    """Return the interactive charts' specifications by name."""
    return {figure.name: figure.specification for figure in figures if figure.specification is not None}


def _picture(drawing: Drawing, *, prefix: str) -> Markup:
    """Return a drawing as SVG whose ids are its own, since the interactive charts use the renderer's for their clips.

    They are numbered anew, for the renderer counts on and on: the same result makes the same page.
    """
    svg = vl_convert.vegalite_to_svg(drawing.to_dict(validate=False))
    for count, name in enumerate(re.findall(r'<(?:clipPath|linearGradient|radialGradient) id="(\w+)"', svg)):
        svg = svg.replace(f'id="{name}"', f'id="{prefix}{count}"').replace(f"url(#{name})", f"url(#{prefix}{count})")
    return Markup(svg)
