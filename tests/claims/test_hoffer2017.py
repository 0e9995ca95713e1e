"""Equal updates: what is asked for, and the laws of distance and covariance on planted data."""

import numpy as np
import pytest

from critbatch.claim import Outcome
from critbatch.claims import registry
from critbatch.judging.batch_gap import not_worse
from critbatch.judging.distance_law import compare_laws, spaced
from critbatch.judging.worlds import exhibit_in
from critbatch.measurement import look_steps

STEPS = np.array([step for step in look_steps() if 1 <= step <= 2000], dtype=float)


def rough(seed: int = 0) -> np.ndarray:
    return 0.02 * np.random.default_rng(seed).normal(size=len(STEPS))


def test_a_logarithm_is_told_from_a_power_and_its_slope_is_found():
    delta, slope = compare_laws(STEPS, 0.6 + 0.4 * np.log(STEPS) + rough())
    assert delta > 4
    assert slope == pytest.approx(0.4, abs=0.01)  # standard error 0.0013


def test_a_power_is_told_from_a_logarithm():
    delta, _ = compare_laws(STEPS, 0.3 * STEPS**0.4 + rough())
    assert delta < -4


def test_a_power_near_zero_is_not_told_from_a_logarithm():
    delta, _ = compare_laws(STEPS, 3 * STEPS**0.01 + rough())
    assert abs(delta) < 4


def test_steps_are_read_a_factor_of_six_fifths_apart():
    chosen = STEPS[spaced(STEPS, np.ones(len(STEPS), bool))]
    assert list(chosen[:5]) == [1, 2, 3, 4, 5]
    assert chosen[-1] > 2000 / 1.2
    late = chosen[chosen > 30]
    assert (late[1:] / late[:-1] > 1.05).all()
    assert (late[1:] / late[:-1] < 1.35).all()
    known = STEPS > 10
    assert STEPS[spaced(STEPS, known)].min() > 10
    assert not len(spaced(STEPS, STEPS < 1))


@pytest.mark.parametrize(
    ("mean", "outcome"),
    [
        (0.0, Outcome.EQUIVALENT), (0.002, Outcome.EQUIVALENT), (0.02, Outcome.SUPPORTED), (-0.02, Outcome.REFUTED),
        (-0.005, Outcome.INCONCLUSIVE), (0.005, Outcome.SUPPORTED),
    ],
)  # fmt: skip
def test_as_good_or_better_is_asked_on_one_side(mean, outcome):
    spread = np.array([-1.0, 1.0, -0.5, 0.5, -1.5, 1.5, 0.2, -0.2]) * 1e-3
    assert not_worse("as good", mean + spread, margin=0.005, unit="", definition="").outcome is outcome


def test_equal_updates_are_equal_and_share_everything_else():
    exhibit = exhibit_in(registry()["HOF-1"], "true", 0)
    sizes = {role: facts.train_size for role, facts in exhibit.facts.items()}
    by_arm = {arm: runs[0] for arm, runs in exhibit.arms.items()}
    small, updates, ghost = by_arm["small"], by_arm["updates"], by_arm["ghost updates"]
    assert updates.budget.most_steps(1024, sizes["main"]) == 30 * sizes["main"] / small.batch_size
    assert updates.learning_rate == pytest.approx(small.learning_rate * 32**0.5)
    assert (updates.schedule, updates.optimizer) == (small.schedule, small.optimizer)
    assert (ghost.budget, ghost.learning_rate) == (updates.budget, updates.learning_rate)
    assert ghost.task == exhibit.facts["ghost"].name
    assert all(size % 1024 == 0 for size in sizes.values())  # a smaller last batch would be no whole number of ghosts
