"""What holds for every chart, on good, poor, hostile and empty results."""

import importlib
import json
import pkgutil
from typing import Any

import pytest
import vl_convert

from critbatch import plots
from critbatch.finding import to_json

from .. import findings

NAMES = sorted(module.name for module in pkgutil.iter_modules(plots.__path__))
RESULTS: dict[str, dict[str, Any]] = {
    "full": json.loads(json.dumps(to_json(findings.full()))),
    "poor": json.loads(json.dumps(to_json(findings.poor()))),
    "hostile": json.loads(json.dumps(to_json(findings.hostile()))),
    "empty": {},
    "all None": dict.fromkeys(to_json(findings.full())),
}
MOST_ROWS = 5000


@pytest.fixture(params=NAMES)
def plot(request):
    return importlib.import_module(f"critbatch.plots.{request.param}")


@pytest.fixture(params=RESULTS)
def result(request):
    return RESULTS[request.param]


def inline_rows(specification: Any) -> list[int]:
    """Return the lengths of all inline data of a specification."""
    if isinstance(specification, list):
        return [count for part in specification for count in inline_rows(part)]
    if not isinstance(specification, dict):
        return []
    own = [len(specification["values"])] if isinstance(specification.get("values"), list) else []
    return own + [count for part in specification.values() for count in inline_rows(part)]


def test_there_is_a_chart_for_each_part_of_the_report():
    assert NAMES == [
        "budgets",
        "curves",
        "grid",
        "learning_rate",
        "noise_scale",
        "pareto",
        "ramps",
        "solutions",
        "steps_to_target",
    ]


def test_it_draws_or_says_why_not(plot, result):
    assert plot.TITLE
    reason = plot.missing(result)
    if reason is not None:
        assert reason.endswith(".")
        return
    assert plot.describe(result)
    for drawing in (plot.chart(result), plot.still(result)):
        specification = drawing.to_dict()  # checks it against Vega-Lite's schema
        assert "NaN" not in json.dumps(specification)
        assert max(inline_rows(specification)) < MOST_ROWS


def test_a_good_result_has_every_chart_and_an_empty_one_none(plot):
    assert plot.missing(RESULTS["full"]) is None
    assert plot.missing(RESULTS["empty"]) is not None
    assert plot.missing(RESULTS["all None"]) is not None


def test_its_rows_share_their_columns(plot, result):
    rows = plot.rows(result)
    assert len({tuple(row) for row in rows}) <= 1
    assert bool(rows) is (plot.missing(result) is None) or result is RESULTS["poor"]


def test_the_live_chart_is_as_wide_as_its_container_and_the_still_one_is_not(plot):
    live, still = (drawing.to_dict() for drawing in (plot.chart(RESULTS["full"]), plot.still(RESULTS["full"])))
    assert live["width"] == "container"
    assert live["autosize"] == {"type": "fit-x", "contains": "padding"}
    assert "container" not in json.dumps(still)


def test_the_still_chart_escapes_what_is_in_the_result(plot):
    if plot.missing(RESULTS["hostile"]) is None:
        svg = vl_convert.vegalite_to_svg(plot.still(RESULTS["hostile"]).to_dict())
        assert svg.startswith("<svg")
        for tag in ("<script", "<img", "</script"):
            assert tag not in svg


def test_a_chart_leaves_the_result_alone(plot):
    before = json.dumps(RESULTS["full"])
    plot.chart(RESULTS["full"]), plot.still(RESULTS["full"]), plot.rows(RESULTS["full"])
    assert json.dumps(RESULTS["full"]) == before
