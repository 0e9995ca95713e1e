"""Steps to target: interpolated, confirmed, censored."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from critbatch.measurement import look_steps
from critbatch.statistics.censoring import crossing, smooth, value_at


def looks(until: int) -> np.ndarray:
    steps = np.array(look_steps())
    return steps[steps <= until]


def test_a_crossing_between_two_looks_is_interpolated_in_log_steps():
    steps = np.array([1, 10, 100, 1000, 10000, 100000])
    values = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    assert crossing(steps, values, 1.5, "above") == pytest.approx(10**1.5)


@given(st.floats(30, 3000), st.sampled_from(["above", "below"]))
def test_a_noiseless_curve_is_crossed_where_it_crosses(where, direction):
    steps = looks(20000)
    sign = 1 if direction == "above" else -1
    values = sign * np.log1p(steps)
    found = crossing(steps, values, sign * np.log1p(where), direction)
    # between neighbouring looks (10% apart) log steps and log(1 + steps) differ by less than 0.2%
    assert found == pytest.approx(where, rel=2e-3)


def test_the_first_look_past_the_target_would_be_late():
    steps = looks(20000)
    values = np.log1p(steps)
    late = np.array([steps[values >= np.log1p(where)][0] / where for where in np.geomspace(50, 5000, 50)])
    ours = np.array([crossing(steps, values, np.log1p(where), "above") / where for where in np.geomspace(50, 5000, 50)])
    assert late.mean() > 1.02
    assert abs(ours.mean() - 1) < 1e-3


def test_one_lucky_look_is_no_arrival():
    steps = np.arange(1, 12)
    values = np.array([0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1.0])
    assert crossing(steps, values, 0.5, "above") > 7


def test_a_run_that_never_crosses_is_censored():
    assert crossing(looks(1000), np.zeros(len(looks(1000))), 0.5, "above") is None


def test_a_crossing_without_witnesses_is_censored():
    steps = np.arange(1, 9)
    values = np.array([0, 0, 0, 0, 0, 0, 1, 1.0])
    assert crossing(steps, values, 0.5, "above") is None


def test_nan_is_never_past_the_target():
    steps = np.arange(1, 9)
    assert crossing(steps, np.full(8, np.nan), 0.5, "above") is None
    assert crossing(steps, np.full(8, np.nan), 0.5, "below") is None


def test_a_start_past_the_target_counts_from_step_zero():
    assert crossing(np.arange(0, 6), np.ones(6), 0.5, "above") == 0


@given(st.lists(st.floats(-1e6, 1e6), min_size=0, max_size=20))
def test_smoothing_keeps_length_ends_and_range(values):
    smoothed = smooth(np.array(values, dtype=float))
    assert len(smoothed) == len(values)
    if values:
        assert smoothed[0] == values[0]
        assert smoothed[-1] == values[-1]
        assert min(values) <= smoothed.min()
        assert smoothed.max() <= max(values)


def test_reading_outside_of_what_was_seen_is_missing():
    positions, values = np.array([0.0, 10.0, 100.0]), np.array([1.0, 2.0, 3.0])
    assert value_at(positions, values, 10.0) == pytest.approx(2.0)
    assert np.isnan(value_at(positions, values, 101.0))
    assert np.isnan(value_at(np.zeros(0), np.zeros(0), 1.0))
