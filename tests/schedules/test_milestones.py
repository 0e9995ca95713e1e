"""Drops at milestones and the two kinds of warm-up, against what the papers' figures show."""

import numpy as np
import pytest

from critbatch.schedules.milestones import Milestones


def test_the_factor_falls_at_each_milestone_and_not_before():
    schedule = Milestones((0.3, 0.6, 0.8), 0.1)
    found = [schedule.factor(used) for used in (0.0, 0.2999, 0.3, 0.5999, 0.6, 0.7999, 0.8, 1.0)]
    assert found == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3])


def test_without_milestones_it_stays():
    assert {Milestones(()).factor(used) for used in np.linspace(0, 1, 11)} == {1.0}


def test_a_gradual_warm_up_is_a_straight_line_to_the_full_rate():
    schedule = Milestones((0.5,), 0.5, warmup=0.2, start=0.1)
    found = [schedule.factor(used) for used in (0.0, 0.05, 0.1, 0.2, 0.49, 0.5)]
    assert found == pytest.approx([0.1, 0.325, 0.55, 1.0, 1.0, 0.5])


def test_a_constant_warm_up_stays_low_and_jumps():
    schedule = Milestones((), warmup=0.2, start=0.1, gradual=False)
    assert [schedule.factor(used) for used in (0.0, 0.1, 0.1999, 0.2)] == pytest.approx([0.1, 0.1, 0.1, 1.0])


def test_a_milestone_inside_the_warm_up_counts():
    schedule = Milestones((0.1,), 0.1, warmup=0.2, start=0.5, gradual=False)
    assert [schedule.factor(used) for used in (0.05, 0.15, 0.25)] == pytest.approx([0.5, 0.05, 0.1])


@pytest.mark.parametrize(
    "bad",
    [
        {"fractions": (0.0,)},
        {"fractions": (0.5, 1.0)},
        {"warmup": 1.0},
        {"warmup": -0.1},
        {"drop": 0.0},
        {"start": 0.0},
    ],
)
def test_milestones_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValueError, match="fractions must be between 0 and 1"):
        Milestones(**bad)
