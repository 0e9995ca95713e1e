"""The analysis recovers planted truths, and says nothing where the data cannot carry it."""

import dataclasses
import json
import re

import numpy as np
import pytest

from critbatch.advice import recommend
from critbatch.analysis.assemble import Circumstances, assemble, choices
from critbatch.analysis.choice import extension
from critbatch.analysis.flips import flips
from critbatch.analysis.rates import learning_rate_rule
from critbatch.curves.hyperbola import Hyperbola
from critbatch.estimate import Estimate
from critbatch.finding import Finding, Winner, to_json
from critbatch.study import RULES
from tests.made_up_sweeps import World, facts

HERE = Circumstances("cpu", {"python": "3"}, {"seeds": [0, 1, 2, 3, 4]})


def finding(world: World, seed: int = 0, **changes) -> Finding:
    return recommend(assemble(world.evidence(seed), facts(**changes), HERE, curve=Hyperbola(), rules=RULES))


@pytest.fixture(scope="module")
def digits_like() -> Finding:
    return finding(World())


def test_the_critical_batch_size_is_recovered(digits_like):
    fit = digits_like.fit
    assert fit.identified
    assert fit.critical_batch_size.value == pytest.approx(64, rel=0.1)
    assert fit.critical_batch_size.low < 64 < fit.critical_batch_size.high
    assert fit.s_min.low < 50 < fit.s_min.high
    assert fit.e_min.low < 3200 < fit.e_min.high
    assert fit.residual < 0.1
    assert fit.critical_batch_size_20pct.value == pytest.approx(0.2 * fit.critical_batch_size.value + 1.2)


def test_steps_to_target_are_recovered_within_five_percent(digits_like):
    for row in digits_like.batch_sizes:
        truth = World().steps_to_target(row.batch_size, 0)
        assert row.steps_to_target.value == pytest.approx(truth, rel=0.05)
        assert row.examples_to_target.value == pytest.approx(row.steps_to_target.value * row.batch_size)
        assert row.best_learning_rate.value == pytest.approx(World().best_rate(row.batch_size), rel=0.1)


@pytest.mark.parametrize(
    ("batch_sizes", "reason"),
    [
        ((1, 2, 4, 8, 16), "no batch size above three times|do not level off"),
        ((128, 256, 512, 1024), "no batch size below a third|hardly fall"),
    ],
)
def test_batch_sizes_on_one_side_of_the_bend_give_a_bound_and_no_number(batch_sizes, reason):
    fit = finding(World(batch_sizes=batch_sizes)).fit
    assert not fit.identified
    assert fit.critical_batch_size.value is None
    assert re.search(reason, fit.reason)


def test_steps_that_do_not_level_off_give_a_lower_bound():
    critical = finding(World(s_min=1e-6, e_min=20000)).fit.critical_batch_size
    assert critical.value is None
    assert critical.high is None
    assert critical.low > 1000


def test_too_few_batch_sizes_give_no_fit():
    fit = finding(World(batch_sizes=(1, 16, 256))).fit
    assert not fit.identified
    assert "needs at least 4 batch sizes" in fit.reason
    assert fit.s_min.value is None


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_the_learning_rate_rule_is_recovered(exponent):
    rule = finding(World(exponent=exponent)).learning_rate_rule
    assert rule.exponent.value == pytest.approx(exponent, abs=0.05)
    assert rule.exponent.low <= exponent <= rule.exponent.high
    assert RULES[rule.nearest].exponent == exponent
    assert rule.nearest in rule.not_excluded


def test_a_cut_grid_is_flagged_at_its_edge_and_extended():
    world = World(powers=(-3, -2, -1, 0))
    chosen = choices(world.evidence(), facts())[1]
    assert all(choice.edge == "high" for choice in chosen.values())
    largest = chosen[16].rates[-1]
    assert extension(chosen[16], 2.0, 2) == [largest * 2, largest * 4]
    rule = learning_rate_rule(chosen, RULES)
    assert rule.exponent.value is None
    assert "got 0 batch sizes" in rule.reason
    assert any("edge of its grid" in warning for warning in finding(world).warnings)


def test_a_whole_grid_is_not_extended():
    chosen = choices(World().evidence(), facts())[1]
    assert all(extension(choice, 2.0, 2) == [] for choice in chosen.values())


def test_a_censored_batch_size_has_no_steps_but_a_learning_rate():
    found = finding(World(final={1: 0.8}))
    row = found.batch_sizes[0]
    assert row.steps_to_target.value is None
    assert "censored" in row.steps_to_target.reason
    assert row.censored == row.runs
    assert row.best_learning_rate.value is not None
    assert any("batch size 1 never reached" in warning for warning in found.recommendation.warnings)


def test_nothing_reached_means_no_recommendation_and_says_what_to_do():
    found = finding(World(final=dict.fromkeys(World().batch_sizes, 0.5)))
    assert found.recommendation is None
    assert "no batch size reached" in found.recommendation_reason
    assert "--epochs" in found.recommendation_reason


def test_the_fastest_batch_size_is_recommended(digits_like):
    world = World()
    seconds = {
        size: world.steps_to_target(size, 0) * (world.step_seconds[0] + world.step_seconds[1] * size)
        for size in world.batch_sizes
    }
    advice = digits_like.recommendation
    assert advice.batch_size.value == min(seconds, key=seconds.get)
    assert advice.batch_size.low <= advice.batch_size.value <= advice.batch_size.high
    assert digits_like.target_winners["steps"].batch_size == 1024
    assert digits_like.target_winners["examples"].batch_size in (1, 4)
    assert {one.batch_size for one in advice.alternatives} <= {1, 4, 1024}


def test_the_winner_flips_between_steps_and_examples(digits_like):
    assert any("The winner flips" in sentence for sentence in digits_like.flips)


def test_a_batch_size_that_was_not_compared_is_not_excluded():
    missing = Estimate.missing("made up", unit="", definition="")
    slow = Winner(64, 256, missing, (), "", (64, 256))
    fast = Winner(16, 64, missing, (), "", (16, 64, 256))
    assert not any("flips" in sentence for sentence in flips({}, {"steps": slow, "examples": fast}))
    everywhere = dataclasses.replace(slow, compared=(16, 64, 256))
    assert any("flips" in sentence for sentence in flips({}, {"steps": everywhere, "examples": fast}))


def test_without_a_target_one_is_chosen_and_said(digits_like):
    found = finding(World(), target_quantity=None, target_value=None, target_direction=None, target_origin="none")
    assert found.task.target_quantity == "validation_accuracy"
    assert found.task.target_value == pytest.approx(0.95 - 0.05 * 0.85, abs=0.01)
    assert "chosen from the sweep" in found.task.target_origin
    assert all(row.steps_to_target.value for row in found.batch_sizes)


def test_budgets_are_read_at_what_every_batch_size_reached(digits_like):
    readings = digits_like.budgets
    assert set(readings) == {"epochs", "updates", "examples", "seconds", "convergence"}
    last = digits_like.curves[-1]
    assert readings["updates"][-1].amount == max(point.step for point in digits_like.curves if point.batch_size == 1)
    assert readings["epochs"][-1].amount == pytest.approx(last.step * 1 / 1024)
    eighth = readings["updates"][0]
    assert eighth.amount == pytest.approx(readings["updates"][-1].amount / 8)
    for row in eighth.rows:
        truth = min(0.95, 0.1 + 0.8 * np.log1p(eighth.amount) / np.log1p(World().steps_to_target(row.batch_size, 0)))
        assert row.test_metric.value == pytest.approx(truth, abs=0.01)


@pytest.mark.parametrize(
    ("budget", "read"), [("Epochs", {"epochs", "examples"}), ("Steps", {"updates"}), ("Longest", set())]
)
def test_a_schedule_stretched_over_a_budget_is_read_at_its_end_alone(budget, read):
    plan = {"seeds": [0], "schedule": {"kind": "Cosine"}, "budget": {"kind": budget}}
    there = Circumstances("cpu", {}, plan)
    found = recommend(assemble(World(seeds=2).evidence(), facts(), there, curve=Hyperbola(), rules=RULES))
    assert {name for name, readings in found.budgets.items() if readings} == read | {"convergence"}
    assert all(len(readings) <= 1 for readings in found.budgets.values())
    assert any("stretched over" in warning for warning in found.warnings)


def test_the_document_is_json_with_every_promised_field(digits_like):
    document = json.loads(json.dumps(to_json(digits_like), allow_nan=False))
    promised = {
        "schema_version", "task", "device", "versions", "plan", "seconds", "batch_sizes", "budgets", "fit",
        "noise_scale", "learning_rate_rule", "recommendation", "claims",
    }  # fmt: skip
    assert promised <= set(document)
    row = {
        "batch_size", "best_learning_rate", "learning_rate_at_edge", "steps_to_target", "examples_to_target",
        "epochs_to_target", "seconds_to_target", "test_metric", "train_loss", "generalization_gap", "diverged",
        "censored", "runs",
    }  # fmt: skip
    assert row <= set(document["batch_sizes"][0])
    assert {
        "s_min",
        "e_min",
        "critical_batch_size",
        "critical_batch_size_20pct",
        "identified",
        "reason",
        "residual",
    } <= set(document["fit"])
    assert {"exponent", "nearest", "reason"} <= set(document["learning_rate_rule"])
    assert {"batch_size", "learning_rate", "reasons", "alternatives", "warnings"} <= set(document["recommendation"])
