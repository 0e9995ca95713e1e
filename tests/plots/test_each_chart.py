"""What the single charts mark, draw and list."""

import copy
import json

import pytest

from critbatch.finding import to_json
from critbatch.plots import budgets, curves, grid, learning_rate, noise_scale, steps_to_target

from .. import findings


@pytest.fixture
def full():
    return json.loads(json.dumps(to_json(findings.full())))


@pytest.fixture
def poor():
    return json.loads(json.dumps(to_json(findings.poor())))


def drawn(chart):
    return json.dumps(chart.to_dict(), ensure_ascii=False)


def data(chart):
    """Return the rows of the chart's own data."""
    return chart.to_dict()["data"]["values"]


def test_budgets_list_every_reading_and_mark_winner_and_ties(full):
    rows = budgets.rows(full)
    assert len(rows) == sum(len(reading["rows"]) for group in full["budgets"].values() for reading in group)
    reading = full["budgets"]["epochs"][2]
    standings = {row["batch size"]: row["standing"] for row in rows if row["budget"] == "20 epochs"}
    assert standings[reading["winner"]["batch_size"]] == "best"
    assert {size for size, state in standings.items() if state.startswith("tied")} == set(reading["winner"]["tied"])
    assert "behind" in standings.values()


def test_budgets_are_named_by_what_is_held_equal(full):
    labels = list(dict.fromkeys(row["budget"] for row in budgets.rows(full)))
    assert labels == [
        "1 epoch", "5 epochs", "20 epochs", "updates: 26 steps", "updates: 100 steps", "updates: 400 steps",
        "10\u202f000 examples", "1 s of training", "at convergence",
    ]  # fmt: skip


def test_budgets_begin_with_the_most_epochs_and_the_still_chart_has_all(full):
    live = budgets.chart(full).to_dict()
    assert [one["value"] for one in live["params"] if one["name"] == "budget_reading"] == ["20 epochs"]
    assert {row["reading"] for row in data(budgets.still(full))} == {row["budget"] for row in budgets.rows(full)}


def test_a_size_that_was_not_trained_that_long_has_a_reason_and_no_point(full):
    lost = [row for row in budgets.rows(full) if row["Test accuracy (%)"]["value"] is None]
    assert {row["standing"] for row in lost} == {"not compared"}
    assert all("not trained" in row["Test accuracy (%)"]["reason"] for row in lost)
    points = data(budgets.chart(full))
    assert len(points) == len(budgets.rows(full)) - len(lost)


def test_curves_list_all_four_axes_and_few_looks(full):
    rows = curves.rows(full)
    assert {"steps", "epochs", "examples", "seconds", "Test accuracy (%)", "train loss"} <= set(rows[0])
    for size in findings.SIZES:
        assert 2 <= sum(row["batch size"] == size for row in rows) <= curves.LISTED


def test_curves_keep_first_and_last_look_and_stay_drawable(full):
    point = full["curves"][0]
    full["curves"] = [{**point, "batch_size": size, "step": step} for size in (1, 2) for step in range(1, 4001)]
    points = data(curves.chart(full))
    assert len(points) <= curves.DRAWN
    for size in (1, 2):
        steps = [row["step"] for row in points if row["batch_size"] == size]
        assert (min(steps), max(steps)) == (1, 4000)


def test_a_loss_that_is_zero_somewhere_is_not_drawn_on_a_logarithmic_axis(full):
    assert "logarithmic" in drawn(curves.chart(full))
    full["curves"][0]["train_loss"] = 0.0
    assert "logarithmic" not in drawn(curves.chart(full))


def test_a_single_look_is_a_visible_point(full):
    full["curves"] = full["curves"][:1]
    assert [row["alone"] for row in data(curves.chart(full))] == [True]


def test_curves_without_seconds_are_still_drawn(full):
    for row in full["curves"]:
        row["seconds"] = 0.0
    points = data(curves.chart(full))
    assert points
    assert all(row["seconds"] is None for row in points)


def test_steps_to_target_mark_the_critical_batch_size_only_where_it_is_known(full, poor):
    assert "B_crit = 90" in drawn(steps_to_target.chart(full))
    assert "B_crit" not in drawn(steps_to_target.chart(poor))
    assert "the curve needs 3" in steps_to_target.describe(poor)


def test_steps_to_target_name_the_regimes_where_they_are(full):
    text = drawn(steps_to_target.chart(full))
    regimes = [name for name in steps_to_target.REGIMES if json.dumps(name)[1:-1] in text]
    assert regimes == list(steps_to_target.REGIMES)
    full["fit"]["critical_batch_size"]["value"] = 1e5
    full["fit"]["critical_batch_size_20pct"]["value"] = 2e4
    assert "maximal data" not in drawn(steps_to_target.chart(full))


def test_a_batch_size_that_missed_the_target_is_a_bound(full):
    row = next(row for row in steps_to_target.rows(full) if row["batch size"] == findings.NEVER)
    assert row["steps to target"]["value"] is None
    assert row["steps to target"]["reason"].startswith("0 of 5 runs")
    assert row["not reached"] == 5
    assert "not reached" in drawn(steps_to_target.chart(full))


def test_no_perfect_scaling_is_drawn_through_a_point_that_was_not_reached(full, poor):
    assert "perfect scaling" in drawn(steps_to_target.chart(full))
    assert "perfect scaling" not in drawn(steps_to_target.chart(poor))


def test_the_rules_pass_through_the_reference(full):
    text = learning_rate.describe(full)
    assert "batch size 64" in text
    assert "0.7 [0.58, 0.83]" in text
    layers = learning_rate.chart(full).to_dict()["layer"]
    lines = [row for row in layers[0]["data"]["values"] if row["rule"] == "square root"]
    (low, high) = sorted(lines, key=lambda row: row["batch_size"])
    assert high["value"] / low["value"] == pytest.approx((high["batch_size"] / low["batch_size"]) ** 0.5, rel=1e-12)
    assert low["value"] * (64 / low["batch_size"]) ** 0.5 == pytest.approx(findings.best_rate(64), rel=1e-12)


def test_a_learning_rate_at_the_edge_is_marked(full):
    rows = {row["batch size"]: row["edge of the grid"] for row in learning_rate.rows(full)}
    assert [size for size, edge in rows.items() if edge != "none"] == [findings.EDGE]
    marked = [
        row["batch_size"]
        for layer in learning_rate.chart(full).to_dict()["layer"]
        for row in layer["data"]["values"]
        if row.get("state") == learning_rate.EDGE
    ]
    assert set(marked) == {findings.EDGE}


def test_the_grid_marks_best_diverged_and_edge(full):
    cells = [row for row in data(grid.chart(full)) if row["quantity"] == "metric"]
    assert len(cells) == len(full["cells"]) == len(grid.rows(full))
    assert sum(cell["words"].startswith("★") for cell in cells) == len(findings.SIZES)
    assert {cell["words"] for cell in cells if cell["diverged"] == 5} == {"✕ 5/5"}
    assert all(("✕ 3/5" in cell["words"]) == (cell["diverged"] == 3) for cell in cells)
    assert sum(cell["edge"] == "◢" for cell in cells) == sum(cell["edge"] for cell in full["cells"])
    steps = [row for row in data(grid.chart(full)) if row["quantity"] == "steps" and row["batch_size"] == "1024"]
    assert {row["words"] for row in steps} <= {"○", "★ ○", "✕ 5/5", "✕ 3/5"}


@pytest.mark.parametrize("better", ["above", "below"])
def test_the_grid_is_darker_where_the_metric_is_better(full, better):
    full["task"]["better"] = better
    cells = [row for row in data(grid.chart(full)) if row["quantity"] == "metric" and row["shade"] >= 0]
    values = {}
    for cell, row in zip(cells, [row for row in full["cells"] if row["test_metric"]["value"] is not None], strict=True):
        values[row["test_metric"]["value"]] = cell["shade"]
    ordered = [values[key] for key in sorted(values, reverse=better == "below")]
    assert ordered == sorted(ordered)
    assert all(0 <= shade <= 1 for shade in ordered)
    assert ordered[-1] > 0.9


def test_text_in_a_cell_can_be_read_on_every_shade():
    def luminance(color):
        parts = [part / 255 for part in color]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = (tuple(int(color[k : k + 2], 16) for k in (1, 3, 5)) for color in (grid.LIGHT, grid.DARK))
    for k in range(1001):
        shade = k / 1000
        ground = luminance([a + (b - a) * shade for a, b in zip(light, dark, strict=True)])
        contrast = 1.05 / (ground + 0.05) if shade > grid.TURN else (ground + 0.05) / 0.05
        assert contrast >= 4.5


def test_undetermined_noise_is_listed_and_bounds_are_drawn(full):
    rows = noise_scale.rows(full)
    assert len(rows) == len(full["noise_scale"])
    assert sum(row["noise scale"]["value"] is None for row in rows) == 2
    assert "2 of 12 looks are undetermined" in noise_scale.describe(full)
    bounds = noise_scale.chart(full).to_dict()["layer"][-1]
    assert bounds["mark"]["shape"] == "triangle-up"
    assert [row["value"] for row in bounds["data"]["values"]] == [300.0]


def test_noise_that_is_nowhere_determined_says_why(full):
    reason = "squared norm below zero"
    looks = copy.deepcopy(full["noise_scale"][:1])
    looks[0]["noise_scale"] = {"value": None, "reason": reason}
    full["noise_scale"] = looks
    assert noise_scale.missing(full) == "Undetermined at every look (1): Squared norm below zero."
