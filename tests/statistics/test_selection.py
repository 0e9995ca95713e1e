"""Choosing the best candidate, and saying when it may lie outside of what was tried."""

import numpy as np
import pytest

from critbatch.statistics.plateau import has_converged
from critbatch.statistics.selection import mean_scores, worse_sides

INF, NAN = np.inf, np.nan


def test_infinite_and_missing_scores_count_as_not_reached():
    assert mean_scores(np.array([[1.0, 3.0], [1.0, INF], [1.0, NAN]])).tolist() == [2.0, INF, INF]


def test_a_best_in_the_middle_is_bracketed():
    scores = np.array([[5.0, 5.1, 4.9], [1.0, 1.1, 0.9], [4.0, 4.2, 3.9]])
    assert worse_sides(scores) == (True, True)


@pytest.mark.parametrize(("order", "sides"), [((0, 1, 2), (False, True)), ((2, 1, 0), (True, False))])
def test_a_best_at_the_edge_is_flagged(order, sides):
    scores = np.array([[1.0, 1.1, 0.9], [2.0, 2.1, 1.8], [4.0, 4.2, 3.9]])
    assert worse_sides(scores[list(order)]) == sides


def test_a_neighbour_within_one_standard_error_does_not_bracket():
    scores = np.array([[1.0, 2.0, 3.0], [0.9, 2.2, 2.7], [9.0, 9.0, 9.0]])
    assert worse_sides(scores) == (False, True)


def test_divergence_brackets_but_a_missing_run_does_not():
    scores = np.array([[NAN, 5.0], [1.0, 1.1], [INF, INF]])
    assert worse_sides(scores) == (False, True)


def test_nothing_finite_is_open_on_both_sides():
    assert worse_sides(np.full((3, 2), INF)) == (False, False)


def test_a_flat_end_is_converged_and_a_rising_one_is_not():
    steps = np.arange(1, 101)
    assert has_converged(steps, 1 - np.exp(-steps / 5), "above")
    assert not has_converged(steps, np.log(steps), "above")
    assert has_converged(steps, np.exp(-steps / 5), "below")
    assert not has_converged(steps, np.full(100, np.nan), "below")
    assert not has_converged(steps, np.zeros(100), "above")
