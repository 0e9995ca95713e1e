"""A chart as a file: PNG, SVG or PDF."""

import math
from pathlib import Path

import vl_convert

from ..plots import Drawing


def save(chart: Drawing, path: str | Path, *, scale: float = 2.0) -> Path:
    """Write a chart as the ending of `path` says, .png, .svg or .pdf, and return the path.

    Args:
        chart: Of this package, or any other of Altair's.
        path: In a folder that exists. A file that is there is replaced.
        scale: Pixels of a PNG for each pixel of the chart; a PDF is as many times as large. Of no effect on an SVG.

    Raises:
        ValueError: If the ending is another, or the scale is not above 0 and finite.
    """
    to = Path(path)
    if not 0 < scale < math.inf:
        raise ValueError(f"`save(scale={scale})`: must be above 0 and finite. 2 is sharp on most screens.")
    ending, specification = to.suffix.lower(), chart.to_dict(validate=False)
    if ending == ".png":
        content = vl_convert.vegalite_to_png(specification, scale=scale)
    elif ending == ".pdf":
        content = vl_convert.vegalite_to_pdf(specification, scale=scale)
    elif ending == ".svg":
        content = vl_convert.vegalite_to_svg(specification).encode()
    else:
        raise ValueError(
            f"`save(path={to.name!r})`: the ending {ending!r} is none of .png, .svg, .pdf. Use one of these."
        )
    to.write_bytes(content)
    return to
