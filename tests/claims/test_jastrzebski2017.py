"""Jastrzebski et al.: exponents of rate and batch size, labels memorized, and where the invariance breaks, by hand."""

import itertools
import math

import numpy as np
import pytest

from critbatch.analysis.grid import Track
from critbatch.claim import Exhibit, Outcome
from critbatch.claims import registry
from critbatch.claims.jastrzebski2017 import exponents
from critbatch.claims.jastrzebski2017_limits import _breaks, _test_where_memorized, _tests
from critbatch.judging.worlds import exhibit_from
from critbatch.measurements.memorized import Memorized
from critbatch.record import Ending

CELLS = np.array(list(itertools.product([2.0**-4, 2.0**-3, 2.0**-2, 2.0**-1], [8.0, 16.0, 32.0, 64.0, 128.0]))).T
RATES, SIZES = CELLS


def planted(name: str, values) -> Exhibit:
    claim = registry()[name]
    return exhibit_from(claim, {role: bed.facts() for role, bed in claim.beds("full").items()}, "full", values)


# JAS-1


def test_planted_exponents_come_out_exactly():
    truth = [(-0.4, 0.3), (0.0, 1.0), (2.0, -1.5)]
    values = np.array([7.0 * RATES**a * SIZES**b for a, b in truth])
    found = exponents(RATES, SIZES, values)
    np.testing.assert_allclose(np.stack([found.rate, found.size], 1), truth, atol=1e-12)


def test_exponents_are_least_squares_over_the_points_that_there_are():
    generator = np.random.default_rng(0)
    values = np.exp(generator.normal(size=(6, len(RATES))))
    values[generator.random(values.shape) < 0.3] = np.nan
    values[0, 0] = 0.0
    found = exponents(RATES, SIZES, values)
    for seed, row in enumerate(values):
        points = [(math.log(rate), math.log(size), math.log(one)) for rate, size, one in zip(RATES, SIZES, row, strict=True)
                  if one > 0]  # fmt: skip
        design = [[1.0, rate, size] for rate, size, _ in points]
        wanted = np.linalg.lstsq(np.array(design), np.array([one for *_, one in points]), rcond=None)[0]
        assert (found.rate[seed], found.size[seed]) == pytest.approx((wanted[1], wanted[2]))


def test_seeds_with_too_few_points_or_one_batch_size_have_no_exponents():
    values = np.ones((4, len(RATES)))
    values[0, 4:] = np.nan  # four points of one rate
    values[1, 3:] = np.nan  # three points
    values[2, SIZES != 8] = np.nan
    assert len(exponents(RATES, SIZES, values).rate) == 1
    assert exponents(RATES, SIZES, np.empty((0, len(RATES)))).size.shape == (0,)


@pytest.mark.parametrize(
    ("powers", "outcomes", "whole"),
    [
        ((-0.4, 0.4), "SSE", Outcome.SUPPORTED), ((-0.4, 0.45), "SSE", Outcome.SUPPORTED),
        ((-0.4, 0.0), "SIR", Outcome.REFUTED), ((0.4, -0.4), "RRE", Outcome.REFUTED),
    ],
)  # fmt: skip
def test_the_ratio_alone_is_two_signs_and_a_sum_of_nothing(powers, outcomes, whole):
    generator = np.random.default_rng(0)

    def values(arm, run, looks):
        log = powers[0] * math.log(run.learning_rate) + powers[1] * math.log(run.batch_size)
        return {"hessian_largest_eigenvalue": math.exp(log + 0.02 * generator.normal()), "train_loss": 0.005}

    verdict = registry()["JAS-1"].judge(planted("JAS-1", values))
    assert "".join(part.outcome.name[0] for part in verdict.parts) == outcomes
    # standard error of an exponent: 0.02 / sqrt(160 points) / spread of the log rate 0.78: 0.002
    assert [part.effect.value for part in verdict.parts] == pytest.approx([*powers, sum(powers)], abs=0.01)
    assert verdict.outcome is whole


def test_runs_that_did_not_come_to_the_loss_are_left_out_and_counted():
    def values(arm, run, looks):
        return {"hessian_largest_eigenvalue": 1.0, "train_loss": 0.02 if run.batch_size == 128 else 0.01}

    assert registry()["JAS-1"].judge(planted("JAS-1", values)).notes == ("runs that did not reach the loss: 32 of 160",)


# JAS-3


def track(shares, tests, ending=Ending.BUDGET, steps=None) -> Track:
    step = np.arange(len(shares), dtype=float) if steps is None else np.array(steps, dtype=float)
    return Track(ending, step, step, step, {"memorized": np.array(shares), "test_accuracy": np.array(tests)})


@pytest.mark.parametrize(
    ("shares", "tests", "expected"),
    [
        ([0.1, 0.1, 0.3, 0.9], [0.1, 0.6, 0.8, 0.9], 0.7),  # half way
        ([0.1, 0.15, 0.19, 0.23], [0.1, 0.5, 0.6, 0.8], 0.65),  # a quarter of the way
        ([0.1, 0.1, np.nan, 0.3], [0.1, 0.6, 0.99, 0.8], 0.7),  # not measured at that look
        ([0.1, 0.1, 0.2, 0.1], [0.1, 0.6, 0.8, 0.9], 0.8),  # just there, and back
        ([0.9, 0.1, 0.3, 0.4], [0.1, 0.6, 0.8, 0.9], 0.7),  # before training nothing is memorized
        ([0.1, 0.25, 0.3, 0.4], [0.1, 0.6, 0.8, 0.9], 0.6),  # already at the first look after the start
        ([0.1, 0.1, 0.1, 0.19], [0.1, 0.6, 0.8, 0.9], np.nan),
    ],
)
def test_the_test_is_read_where_a_fifth_is_memorized(shares, tests, expected):
    assert _test_where_memorized(track(shares, tests)) == pytest.approx(expected, nan_ok=True)


def test_runs_without_memory_or_that_diverged_have_no_reading():
    assert math.isnan(_test_where_memorized(track([0.1, 0.1, 0.9], [0.1, 0.5, 0.6], Ending.DIVERGED)))
    one = track([0.1, 0.1, 0.9], [0.1, 0.5, 0.6])
    assert math.isnan(
        _test_where_memorized(Track(one.ending, one.step, one.examples, one.seconds, {"memorized": one.step}))
    )


def test_each_noise_has_its_own_labels_and_measurement():
    claim = registry()["JAS-3"]
    beds = claim.beds("full")
    assert {role: bed.random_labels for role, bed in beds.items()} == {"main": 0.25, "more": 0.5}
    arms = claim.arms("full", {role: bed.facts() for role, bed in beds.items()})
    for role, bed in beds.items():
        assert {run.measurements for run in arms[role].runs} == {(Memorized(bed.random_labels),)}
        assert {run.task for run in arms[role].runs} == {bed.name}
        assert len(arms[role].runs) == 3 * 4 * 8


def test_the_trend_is_per_doubling_of_the_ratio():
    def values(arm, run, looks):
        slope = 0.01 if arm == "main" else 0.02
        test = 0.8 + slope * math.log2(run.learning_rate / run.batch_size) + 1e-4 * (run.seed % 3)
        return {"memorized": np.where(looks > 0, 0.5, 0.1), "test_accuracy": test, "train_loss": 0.5}

    verdict = registry()["JAS-3"].judge(planted("JAS-3", values))
    assert [part.effect.value for part in verdict.parts] == pytest.approx([0.01, 0.02])


# JAS-4


def lost(row: dict[int, float], sizes=(500, 1000, 2000, 4000, 8000)) -> Exhibit:
    """Return runs that lose `row[factor]` of 0.9; None for factors that diverge."""

    def values(arm, run, looks):
        fallen = row[run.batch_size // 16]
        return None if fallen is None else {"test_accuracy": 0.9 - fallen, "train_loss": 0.1}

    return planted("JAS-4", values)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({1: 0, 2: 0.002, 4: 0.006, 8: 0.014, 16: 0.03, 32: 0.1}, 2.5),
        ({1: 0, 2: 0.04, 4: 0, 8: 0, 16: 0, 32: 0}, 0.25),  # for the first time
        ({1: 0, 2: -0.01, 4: -0.02, 8: -0.01, 16: 0.01}, 4.0),
        ({1: 0, 2: 0, 4: 0, 8: 0, 16: 0.005}, 4.0),  # never: the largest factor
        ({1: 0, 2: 0, 4: 0, 8: None, 16: 0, 32: 0}, 2 + 0.01 / 0.9),  # everything is lost
    ],
)
def test_a_break_is_interpolated_where_a_point_is_lost(row, expected):
    tests = _tests(lost(row), "2000")
    assert tests.shape == (8, 5)
    np.testing.assert_allclose(_breaks(tests, "full"), expected, rtol=1e-6)


def test_without_the_first_factor_nothing_can_be_lost():
    assert _tests(lost({1: None, 2: 0, 4: 0, 8: 0, 16: 0, 32: 0}), "2000").shape == (0, 5)


def test_ratios_are_the_same_at_every_factor():
    claim = registry()["JAS-4"]
    arms = claim.arms("full", {role: bed.facts() for role, bed in claim.beds("full").items()})
    for plan in arms.values():
        assert {run.learning_rate / run.batch_size for run in plan.runs} == {0.25 / 16}
    assert {run.batch_size // 16 for run in arms["2000"].runs} == {1, 2, 4, 8, 16}


def test_where_nothing_is_lost_nothing_is_told():
    exhibit = lost(dict.fromkeys((1, 2, 4, 8, 16, 32), 0.0))
    assert registry()["JAS-4"].judge(exhibit).outcome is not Outcome.SUPPORTED


def test_small_sets_that_scatter_more_do_not_break_earlier_by_it():
    """Nothing is lost anywhere; 20 worlds, of which single seeds' crossings would call half SUPPORTED."""
    outcomes = []
    for seed in range(20):
        generator = np.random.default_rng(seed)

        def values(arm, run, looks, generator=generator):
            size = 500 if arm == "main" else int(arm)
            return {"test_accuracy": 0.9 + 0.008 * (500 / size) ** 0.5 * generator.normal(), "train_loss": 0.1}

        outcomes.append(registry()["JAS-4"].judge(planted("JAS-4", values)).outcome)
    assert outcomes.count(Outcome.SUPPORTED) <= 3  # 5 % of 20 is 1; four or more have a chance of 2 %
