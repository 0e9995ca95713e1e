"""The goal that batch sizes share, examples to it, and the sweep in rates per example, on planted runs."""

import dataclasses

import numpy as np
import pytest

from critbatch.analysis.grid import Grid, Track
from critbatch.claims import registry
from critbatch.judging.common_goal import (
    SWEEP,
    WIDER,
    Goal,
    common_goal,
    examples_to,
    examples_to_nearly_best,
    per_example,
    span_of_a_decade,
    speech_bed,
    summed_sweep,
    tuned_examples,
)
from critbatch.judging.learners import Learner, imagined
from critbatch.judging.worlds import exhibit_from
from critbatch.record import Ending

FACTS = speech_bed("full").facts()
EXAMPLES = np.array([0.0, 10, 20, 40, 80, 160, 320, 640])


def track(values, *, ending=Ending.BUDGET, quantity="validation_accuracy") -> Track:
    steps = EXAMPLES / 10
    return Track(ending, steps, EXAMPLES, steps, {quantity: np.array(values, dtype=float)})


def rising(end: float) -> Track:
    return track([0.1, 0.2, 0.3, 0.5, end, end, end, end])


def test_the_goal_lies_on_the_way_to_the_best_rate_of_the_smallest_batch():
    grid = Grid(FACTS, (0, 1), {10: {0.1: {0: rising(0.8), 1: rising(1.0)}, 0.2: {0: rising(0.6), 1: rising(0.6)}}})
    goal = common_goal(grid)
    assert (goal.quantity, goal.direction) == ("validation_accuracy", "above")
    assert goal.value == pytest.approx(0.1 + 0.95 * 0.8)
    assert common_goal(grid, share=0.5).value == pytest.approx(0.5)


def test_a_metric_that_falls_has_a_goal_below_its_start():
    falling = {seed: track([4, 3, 2, 1, 1, 1, 1, 1], quantity="validation_loss") for seed in (0, 1)}
    facts = dataclasses.replace(FACTS, metric="loss", better="below")
    goal = common_goal(Grid(facts, (0, 1), {10: {0.1: falling}}))
    assert (goal.quantity, goal.direction) == ("validation_loss", "below")
    assert goal.value == pytest.approx(1.15)


def test_there_is_no_goal_without_learning():
    dead = {0: track([0.1] * 8, ending=Ending.DIVERGED), 1: rising(0.9)}
    flat = {0: track([0.1] * 8), 1: track([0.1] * 8)}
    for rows in (dead, flat):
        assert common_goal(Grid(FACTS, (0, 1), {10: {0.1: rows}})) is None
    assert common_goal(Grid(FACTS, (), {})) is None
    assert np.isnan(tuned_examples(Grid(FACTS, (0, 1), {10: {0.1: flat}}), None)).all()


def test_examples_are_counted_to_the_crossing_and_never_below_one_batch():
    assert examples_to(Goal("validation_accuracy", 0.5, "above"))(rising(0.9)) == pytest.approx(40)
    assert examples_to(Goal("validation_accuracy", 0.05, "above"))(rising(0.9)) == 10
    assert examples_to(Goal("validation_accuracy", 0.95, "above"))(rising(0.9)) == np.inf
    assert examples_to(Goal("train_loss", 0.5, "below"))(rising(0.9)) == np.inf
    near = examples_to_nearly_best("validation_accuracy", 0.45, "above")
    assert near(rising(0.9)) == 40
    assert near(track([0.1] * 8, ending=Ending.DIVERGED)) == np.inf


def test_rates_per_example_are_a_ladder_around_a_middle_that_falls_with_the_batch():
    assert [per_example(place) for place in range(-5, 2)] == [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
    tried: dict[int, set[float]] = {}
    for run in summed_sweep(FACTS, "full").runs:
        tried.setdefault(run.batch_size, set()).add(round(run.learning_rate / run.batch_size, 12))
    assert sorted(tried) == [1, 10, 100, 900, 2048]
    assert tried[1] == tried[10] == {0.01, 0.03, 0.1, 0.3, 1.0}
    assert tried[2048] == {0.0003, 0.001, 0.003, 0.01, 0.03}


@pytest.mark.parametrize(("middle", "more"), [(0.1, set()), (0.01, {0.001, 0.003}), (1.2, {3.0, 10.0})])
def test_rates_are_added_where_the_fastest_is_at_an_edge(middle, more):
    learner = Learner(
        lambda size: 1000.0, lambda size: middle if size == 1 else 0.003 * size if size > 100 else 0.05 * size,
        lambda size: 0.97,
    )  # fmt: skip
    found = exhibit_from(registry()["WM-2"], {"main": FACTS}, "full", imagined(learner, np.random.default_rng(0)))
    added = {round(run.learning_rate, 12) for run in found.arms.get(WIDER, ()) if run.batch_size == 1}
    assert added == more
    assert len(found.arms[SWEEP]) == 5 * 5 * 8


def test_the_last_decade_begins_at_a_tenth_of_the_largest_or_below():
    assert span_of_a_decade([1, 10, 100, 900, 2048]) == 2
    assert span_of_a_decade([1, 4, 16, 64, 256, 1024, 2000]) == 3
    assert span_of_a_decade([64, 128]) == 0
    assert span_of_a_decade([]) == 0
