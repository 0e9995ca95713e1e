"""Circulation: closed forms of linear processes, coverage at equilibrium and away from it, a twin by loops."""

import numpy as np
import pytest

from critbatch.trajectories.circulation import (
    area_rates,
    circulation_strength,
    plane_circulations,
    principal_coordinates,
)
from tests.noise.coverage import assert_covers, covered
from tests.problems import assert_unbiased

from .processes import ROOT, TURNING, autoregressive, balanced_drift, stationary_covariance

STEPS, DRAWS = 600, 200


def truth_of(drift: np.ndarray, root: np.ndarray) -> tuple[float, float]:
    """Return area rate and angular velocity: the antisymmetric part of C F', also over the root of det C."""
    covariance = stationary_covariance(drift, root)
    lagged = covariance @ drift.T
    rate = (lagged[0, 1] - lagged[1, 0]) / 2
    return rate, rate / np.linalg.det(covariance) ** 0.5


def naive_area(trajectory: np.ndarray, i: int, j: int) -> float:
    mean = trajectory.mean(0)
    total = 0.0
    for before, after in zip(trajectory[:-1] - mean, trajectory[1:] - mean, strict=True):
        middle, step = (before + after) / 2, after - before
        total += (middle[i] * step[j] - middle[j] * step[i]) / 2
    return total / (len(trajectory) - 1)


def test_area_rates_are_those_of_a_loop_over_midpoints():
    (trajectory,) = autoregressive(np.diag([0.9, 0.5, 0.2]), np.eye(3), steps=60, draws=1, seed=0)
    rates = area_rates(trajectory)
    naive = np.array([[naive_area(trajectory, i, j) for j in range(3)] for i in range(3)])
    np.testing.assert_allclose(rates, naive, atol=1e-14)
    for plane in plane_circulations(trajectory):
        assert plane.area_rate.value == pytest.approx(rates[plane.first, plane.second], rel=1e-12)


def test_a_circle_turns_by_its_angle():
    angles = 0.1 * np.arange(0, 6284)
    circle = np.stack([np.cos(angles), np.sin(angles)], 1)
    assert area_rates(circle)[0, 1] == pytest.approx(np.sin(0.1) / 2, rel=1e-3)
    (plane,) = plane_circulations(3 + circle @ np.diag([5.0, 0.2]))
    assert plane.angular_velocity.value == pytest.approx(np.sin(0.1), rel=1e-3)
    assert circulation_strength(circle @ ROOT) == pytest.approx(np.sin(0.1), rel=1e-3)


@pytest.mark.parametrize(("drift", "turns"), [(TURNING, True), (balanced_drift(ROOT), False)])
def test_intervals_hold_the_closed_form_as_often_as_they_say(drift, turns):
    rate, velocity = truth_of(drift, ROOT)
    assert (abs(velocity) > 0.05) == turns
    planes = [plane_circulations(one)[0] for one in autoregressive(drift, ROOT, steps=STEPS, draws=DRAWS, seed=1)]
    # 200 trials: 3 standard errors of a coverage of 0.95 are 0.046
    for hits in (covered([one.area_rate for one in planes], rate),
                 covered([one.angular_velocity for one in planes], velocity)):  # fmt: skip
        assert hits.mean() >= 0.9
        assert_covers(hits, 0.93, 0.97)
    if turns:
        assert_unbiased(np.array([one.area_rate.value for one in planes]), rate, smallest_bias=0.1)
        # a ratio: too large by about twice the relaxation time of 10 over the length
        velocities = np.array([one.angular_velocity.value for one in planes])
        assert_unbiased(velocities / (1 + 20 / STEPS), velocity, smallest_bias=0.1)
        assert all(one.angular_velocity.low > 0 for one in planes), "at this length it is always seen"


def test_white_observation_noise_does_not_hide_or_make_a_current():
    rate, _ = truth_of(TURNING, ROOT)
    seen = autoregressive(TURNING, ROOT, steps=1000, draws=400, seed=2)
    seen = seen + 2 * np.random.default_rng(3).standard_normal(seen.shape) @ ROOT.T
    assert_unbiased(np.array([area_rates(one)[0, 1] for one in seen]), rate, smallest_bias=0.2)


def test_strength_is_the_sum_over_planes_and_no_linear_map_changes_it():
    drift = np.zeros((3, 3))
    drift[:2, :2], drift[2, 2] = TURNING, 0.5
    (trajectory,) = autoregressive(drift, np.eye(3), steps=4000, draws=1, seed=4)
    scores = principal_coordinates(trajectory, 3)
    rates = area_rates(scores / scores.std(0))
    naive = sum(rates[i, j] ** 2 for i in range(3) for j in range(i + 1, 3)) ** 0.5
    strength = circulation_strength(trajectory)
    assert strength == pytest.approx(naive, rel=1e-9)
    assert circulation_strength(7 + trajectory @ np.random.default_rng(5).normal(size=(3, 3))) == pytest.approx(
        strength
    )
    assert strength == pytest.approx(0.9 * np.sin(0.1), abs=0.03)  # standard error about 0.01


def test_principal_coordinates_are_uncorrelated_ordered_and_have_a_sign():
    (trajectory,) = autoregressive(np.diag([0.9, 0.5, 0.2]), np.eye(3), steps=500, draws=1, seed=6)
    scores = principal_coordinates(trajectory, 2)
    values, axes = np.linalg.eigh(np.cov(trajectory.T, bias=True))
    np.testing.assert_allclose(np.cov(scores.T, bias=True), np.diag(values[:0:-1]), atol=1e-12)
    np.testing.assert_allclose(np.abs(scores), np.abs((trajectory - trajectory.mean(0)) @ axes[:, :0:-1]), atol=1e-10)
    moved = principal_coordinates(-trajectory, 2)
    np.testing.assert_allclose(moved, -scores, atol=1e-12)  # the same axes: both ends of an axis are not alike


def test_a_random_walk_sweeps_area_in_its_principal_plane():
    # why the docstring asks for stationarity: no current, but the interval says so in most of 40 walks
    walks = np.random.default_rng(7).standard_normal((40, 400, 20)).cumsum(1)
    planes = [plane_circulations(principal_coordinates(one, 2))[0] for one in walks]
    known = [one for one in planes if one.angular_velocity.value is not None]
    assert sum(not one.angular_velocity.low < 0 < one.angular_velocity.high for one in known) > len(known) / 2


def test_what_has_no_interval_says_why():
    (short,) = plane_circulations(np.random.default_rng(8).standard_normal((8, 2)))
    assert "needs 12 steps, got 7" in short.area_rate.reason
    (long,) = plane_circulations(np.random.default_rng(9).standard_normal((100, 2)), block=40)
    assert "2.5 blocks of 40" in long.area_rate.reason
    (still,) = plane_circulations(np.ones((100, 2)))
    assert "does not move" in still.angular_velocity.reason
    assert still.area_rate.value == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: area_rates(np.ones(5)), r"shape \(time, coordinate\).*got \(5,\)"),
        (lambda: principal_coordinates(np.ones((9, 2)), 3), r"count=3.*has 1 to 2"),
        (lambda: plane_circulations(np.ones((90, 2)), block=0), "block=0.*at least 1"),
    ],
)
def test_what_is_no_trajectory_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
