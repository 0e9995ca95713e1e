"""Goals of training loss on sweeps whose steps to every loss are known."""

import numpy as np
import pytest

from critbatch.analysis.grid import Grid, Track
from critbatch.bed import Bed
from critbatch.judging.loss_goals import examples_line, goal_heights, loss_goals
from critbatch.record import Ending

STEPS = np.unique(np.ceil(np.concatenate([[0], 10 ** (np.arange(90) / 25)])))


def grid(needed: dict[int, float], best: float = 0.5, *, seeds: int = 4) -> Grid:
    """Return a sweep whose loss is 2 exp(-steps/needed) at the best rate, 10 % later for each seed."""

    def track(size: int, rate: float, seed: int) -> Track:
        late = needed[size] * (1 + np.log2(rate / best) ** 2) * 1.1**seed
        values = {"train_loss": 2 * np.exp(-STEPS / late)}
        return Track(Ending.BUDGET, STEPS, STEPS * size, STEPS, values)

    rates = (best / 2, best, best * 2)
    tracks = {
        size: {rate: {seed: track(size, rate, seed) for seed in range(seeds)} for rate in rates} for size in needed
    }
    return Grid(Bed().facts(), tuple(range(seeds)), tracks)


NEEDED = {1: 1000.0, 10: 100.0, 100: 30.0}


def test_goals_lie_between_the_start_and_what_the_slowest_batch_size_reaches():
    goals = loss_goals(grid(NEEDED), (0.0, 0.5, 1.0))
    slowest = np.mean([2 * np.exp(-STEPS[-1] / 3 / (1000 * 1.1**seed)) for seed in range(4)])
    assert goals[0] == pytest.approx(2.0)
    assert goals[2] == pytest.approx(slowest, rel=0.02)
    assert goals[1] == pytest.approx((2 * slowest) ** 0.5, rel=0.02)


def test_there_is_no_goal_where_nothing_is_reached():
    assert loss_goals(grid({1: 1e12}), (0.5,)) == []
    assert loss_goals(Grid(Bed().facts(), (), {}), (0.5,)) == []


def test_steps_to_a_goal_are_those_of_the_best_rate_with_and_without_each_seed():
    found = goal_heights(grid(NEEDED), 1.0)
    wanted = np.log(np.log(2) * np.array(list(NEEDED.values())))
    shift = np.log(1.1) * np.array([1.5, 2.0, 5 / 3, 4 / 3, 1.0])  # mean number of the seeds that are left
    assert found.sizes.tolist() == [1, 10, 100]
    assert found.logs == pytest.approx(wanted + shift[:, None], abs=0.05)


def test_a_line_counts_examples():
    found = examples_line("name", goal_heights(grid(NEEDED), 1.0))
    for (size, low, value, high), needed in zip(found.points, NEEDED.values(), strict=True):
        assert value == pytest.approx(size * needed * np.log(2) * 1.1**1.5, rel=0.06)
        assert low < value < high
