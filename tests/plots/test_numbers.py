"""Numbers and estimates as text, and how far intervals are drawn."""

import math

import pytest

from critbatch import plots

from .. import findings


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"), (math.nan, "—"), (math.inf, "—"), (0, "0"), (64, "64"), (1024.0, "1024"), (12345, "12\u202f345"),
        (0.9736, "0.974"), (0.5, "0.5"), (123.456, "123"), (1536.4, "1540"), (98765.4, "98\u202f800"), (-2.5, "−2.5"),
        (1.25e-5, "1.25×10⁻⁵"), (3.2e9, "3.2×10⁹"), (0.00195, "0.00195"),
    ],
)  # fmt: skip
def test_a_number_has_three_digits_and_whole_numbers_have_all(value, text):
    assert plots.number(value) == text


def test_an_estimate_that_is_not_there_says_so():
    for row in (None, {}, {"steps": None}, {"steps": {"value": None}}):
        found = plots.estimate(row, "steps")
        assert (found["value"], found["reason"], found["count"]) == (None, plots.NOT_RECORDED, 0)


def test_an_estimate_shows_value_unit_and_interval():
    found = plots.estimate({"a": findings.estimate(123.456, unit="steps").to_json()}, "a")
    assert plots.shown(found) == "123 steps [111, 136]"


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(3.0, None, "above 3"), (None, 4.0, "below 4"), (3.0, 4.0, "between 3 and 4"), (None, None, "not known")],
)
def test_an_estimate_without_value_shows_its_bound_and_reason(low, high, text):
    found = plots.estimate({"a": findings.missing("too few", low=low, high=high).to_json()}, "a")
    assert plots.shown(found) == f"{text}: too few"


def test_an_open_end_is_called_open():
    found = plots.estimate({"a": {"value": 2.0, "low": 1.0}}, "a")
    assert plots.interval(found) == "[1, open]"


@pytest.mark.parametrize(("metric", "value"), [("accuracy", 97.0), ("loss", 0.97)])
def test_only_a_fraction_becomes_percent(metric, value):
    result = {"task": {"metric": metric}, "batch_sizes": [{"test_metric": {"value": 0.97}}]}
    found = plots.in_percent(plots.estimate({"a": {"value": 0.97}}, "a"), result)
    assert found["value"] == pytest.approx(value, rel=1e-12)
    assert ("%" in plots.metric_title(result)) == (metric == "accuracy")


def test_an_accuracy_above_one_is_no_fraction():
    result = {"task": {"metric": "accuracy"}, "batch_sizes": [{"test_metric": {"value": 97.0}}]}
    assert not plots.metric_is_fraction(result)


def test_intervals_are_cut_and_values_are_not():
    rows = [{"value": 90.0, "low": -50.0, "high": 95.0}, {"value": 96.0, "low": 94.0, "high": 300.0}]
    assert plots.cut(rows, fraction=True) == [
        {"value": 90.0, "low": 84.0, "high": 95.0}, {"value": 96.0, "low": 94.0, "high": 100.0},
    ]  # fmt: skip
    assert plots.cut(rows, fraction=False)[1]["high"] == 102.0
    assert plots.cut([], fraction=True) == []


def test_a_logarithmic_axis_shows_values_and_intervals_up_to_a_point():
    rows = [{"value": 10.0, "low": 9.0, "high": 1e9}, {"value": 20.0, "low": 1e-9, "high": 21.0}]
    assert (min(plots.heights(rows)), max(plots.heights(rows))) == (2.5, 80.0)


@pytest.mark.parametrize(("text", "whole"), [("too few", "Too few."), ("Done!", "Done!"), ("", "")])
def test_a_sentence_begins_and_ends_as_one(text, whole):
    assert plots.sentence(text) == whole


def test_logarithmic_ticks_lie_on_the_axis():
    for values, form in (([3.0, 4.0], "~s"), ([1e-5, 1e5], "~g"), ([0.02, 7.0], "~g")):
        axis = plots.log_axis("value", "title", values)
        ticks, (low, high) = axis["axis"]["values"], axis["scale"]["domain"]
        assert ticks
        assert axis["axis"]["format"] == form  # "~s" would write 0.5 as 500m
        assert all(low <= tick <= high for tick in ticks)
