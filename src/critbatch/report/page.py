"""A result as one HTML page that needs nothing else: no network, no script to be read, no font."""

import base64
import functools
import hashlib
import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from ..cache import recall, remember
from ..plots import (
    batch_sizes,
    bound,
    budgets,
    curves,
    estimate,
    grid,
    interval,
    learning_rate,
    noise_scale,
    number,
    pareto,
    ramps,
    sentence,
    solutions,
    steps_to_target,
)
from . import evidence, facts, tables
from .figures import block, figure, specifications

FIGURES = {
    "budgets": budgets, "curves": curves, "steps": steps_to_target, "rates": learning_rate, "grid": grid,
    "noise": noise_scale, "solutions": solutions, "pareto": pareto, "ramps": ramps,
}  # fmt: skip
ON_REQUEST = ("solutions", "ramps")  # what a sweep holds only if it was asked for
OF_LOGS = ("steps", "rates")  # what a log without budgets and seconds can show
SHORT = {
    "budgets": "Budgets", "curves": "Curves", "steps": "Steps to target", "rates": "Learning rates", "grid": "Grid",
    "noise": "Noise scale", "solutions": "Solutions", "pareto": "Pareto", "ramps": "Ramps",
}  # fmt: skip
_BUNDLE = "window.vegaEmbed = vegaEmbed;"
_TEMPLATES = Path(__file__).parent / "templates"


def render(result: dict[str, Any]) -> str:
    """Return the page of a result (the dictionary that `result.json` holds)."""
    clean = facts.finite(result)
    is_log = not (clean.get("task") or {}).get("train_size") and bool(
        clean.get("critical_batch_sizes") or clean.get("fit")
    )
    names = OF_LOGS if is_log and not clean.get("budgets") else tuple(FIGURES)
    names = [name for name in names if name not in ON_REQUEST or clean.get(name)]
    figures = [figure(name, FIGURES[name], clean) for name in names]
    return _environment().get_template("page.html.j2").render(
        result=clean, task=clean.get("task") or {}, facts=facts, evidence=evidence, figures=figures, short=SHORT,
        bundle=_bundle(), script=_script(), policy=_policy(), specifications=block(specifications(figures)),
        raw=block(clean), sizes_table=tables.batch_sizes(clean), winners_table=tables.budget_winners(clean),
        target_table=tables.target_winners(clean),
        recommendation=clean.get("recommendation"), sizes=batch_sizes(clean.get("batch_sizes")),
    )  # fmt: skip


def write(result: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write the page of a result to `path`: whole or not at all."""
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    content = render(result).encode("utf-8", errors="replace")
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(place)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "number": _number, "sentence": sentence, "interval": interval, "bound": bound,
        "level": tables.level, "estimate": estimate,
    }  # fmt: skip
    return environment


def _number(value: Any) -> str:
    """Return `value` as text; what is not a number (a field that an older result lacks) is a dash."""
    return number(value) if isinstance(value, (int, float)) else "—"


@functools.cache
def _bundle() -> Markup:
    """Return Vega, Vega-Lite and Vega-Embed as one script; making it takes seconds, so it is kept on disk."""
    about = {"script": _BUNDLE, "vl_convert": version("vl-convert-python")}
    text = recall(about).get("text")
    if not isinstance(text, str):
        text = _unix(vl_convert.javascript_bundle(_BUNDLE))
        remember(about, {"text": text})
    return Markup(text)


@functools.cache
def _script() -> Markup:
    return Markup(_unix((_TEMPLATES / "page.js").read_text(encoding="utf-8")))


def _unix(text: str) -> str:
    """Return `text` with the line ends that a browser sees, so that hashes agree."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


@functools.cache
def _policy() -> str:
    """Return the Content-Security-Policy: only the page's own two scripts may run (by hash), nothing may be loaded."""
    hashes = [
        base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
        for text in (_bundle(), _script())
    ]
    scripts = " ".join(f"'sha256-{text}'" for text in hashes)
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
