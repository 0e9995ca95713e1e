"""The lowest point between candidates: exact for a parabola, free of the winner's curse, and inside of what was tried."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from critbatch.statistics.valley import valley

GRID = np.log(2.0) * np.arange(7)


@given(st.floats(1.0, 5.0), st.floats(0.05, 0.5))  # curved more, and only one candidate has any weight
def test_of_a_parabola_it_is_the_vertex(place, curvature):
    lowest = place * np.log(2.0)
    found = valley(GRID, (3 + curvature * (GRID - lowest) ** 2)[None])
    assert found.position[0] == pytest.approx(lowest, abs=1e-4)
    assert found.height[0] == pytest.approx(3, abs=1e-4)


def test_the_smallest_score_lies_below_the_smallest_mean_and_the_valley_does_not():
    # 2,000 worlds: the standard error of the mean height is 0.002
    draw = np.random.default_rng(0)
    scores = 0.35 * (GRID - GRID[3]) ** 2 + draw.normal(0, 0.15, (2000, 7))
    assert scores.min(1).mean() < -0.03
    assert abs(valley(GRID, scores, width=0.4).height.mean()) < 0.02


def test_it_stays_half_way_to_the_neighbours_of_the_best():
    scores = np.array([[5.0, 4.0, 3.0, 2.0, 1.0, 0.9, 8.0]])
    found = valley(GRID, scores)
    assert GRID[4] < (GRID[4] + GRID[5]) / 2 <= found.position[0] <= GRID[5]
    edge = valley(GRID, np.array([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]]))
    assert edge.position[0] == GRID[0]


def test_it_never_goes_towards_a_divergence():
    scores = np.array([[9.0, 6.0, 4.0, 2.5, 1.5, 1.0, np.inf]])
    found = valley(GRID, scores)
    assert found.position[0] == GRID[5]
    assert found.height[0] == pytest.approx(1.0, abs=0.05)
    assert not found.curved[0]


def test_of_two_candidates_the_better_one_stands():
    found = valley(GRID[:2], np.array([[2.0, 1.0]]))
    assert (found.position[0], found.height[0], found.curved[0]) == (GRID[1], 1.0, False)
    nothing = valley(GRID, np.full((1, 7), np.inf))
    assert np.isnan(nothing.position[0])
