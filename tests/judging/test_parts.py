"""Outcomes by the rules that all claims share, on numbers whose answer is known."""

import numpy as np
import pytest

from critbatch.claim import Kind, Outcome
from critbatch.estimate import Estimate
from critbatch.judging.parts import (
    accuracy_margin,
    all_of,
    band,
    describe,
    direction,
    equivalence,
    exact,
    none_beats,
    preferred,
    slope_estimate,
    slopes_by_seed,
)

EIGHT = np.array([0.9, 1.1, 1.3, 0.7, 1.0, 1.2, 0.8, 1.0])


def direct(values, **more):
    return direction("d", np.asarray(values), unit="u", definition="d", **more)


def equal(values, margin):
    return equivalence("e", np.asarray(values), margin=margin, unit="u", definition="d")


def estimate(value, low, high, count=8):
    return Estimate(value, low, high, 0.95, count, "u", "m", "d")


@pytest.mark.parametrize(
    ("values", "margin", "outcome"),
    [
        (EIGHT, 0.0, "SUPPORTED"),
        (-EIGHT, 0.0, "REFUTED"),
        (EIGHT - 1.0, 0.0, "INCONCLUSIVE"),
        (EIGHT - 1.0, 0.5, "EQUIVALENT"),
        (EIGHT[:5], 0.0, "INCONCLUSIVE"),  # five seeds give p = 0.0625 in a sign test, however far from 0
        ([1.0], 0.0, "INCONCLUSIVE"),
        ([], 0.0, "INCONCLUSIVE"),
        ([np.nan, *EIGHT], 0.0, "SUPPORTED"),
    ],
)
def test_direction(values, margin, outcome):
    assert direct(values, margin=margin).outcome.name == outcome


@pytest.mark.parametrize(
    ("values", "margin", "outcome"),
    [
        (EIGHT - 1, 0.5, "EQUIVALENT"),
        (EIGHT, 0.5, "REFUTED"),
        (EIGHT - 1, 0.05, "INCONCLUSIVE"),
        ([1.0], 9, "INCONCLUSIVE"),
    ],
)
def test_equivalence(values, margin, outcome):
    assert equal(values, margin).outcome.name == outcome


def test_equivalence_uses_the_interval_of_90_percent():
    values = EIGHT - 1  # standard error 0.0707 with 7 degrees of freedom: t is 1.895 one-sided, 2.365 two-sided
    error = values.std(ddof=1) / 8**0.5
    assert equal(values, 1.95 * error).outcome is Outcome.EQUIVALENT
    assert equal(values, 1.85 * error).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(
    ("ends", "limits", "outcome"),
    [
        ((0.5, 0.4, 0.6), (0.0, np.inf), "SUPPORTED"),
        ((0.5, 0.4, 0.6), (-np.inf, 0.0), "REFUTED"),
        ((0.5, 0.4, 0.6), (0.45, 1.0), "INCONCLUSIVE"),
        ((0.5, None, None), (0.0, 1.0), "INCONCLUSIVE"),
        ((0.5, 0.4, None), (0.0, np.inf), "INCONCLUSIVE"),
    ],
)
def test_band(ends, limits, outcome):
    assert band("b", estimate(*ends), *limits).outcome.name == outcome


def test_the_p_value_of_a_sign_is_students():
    found = band("b", estimate(1.0, 1.0 - 2.364624, 1.0 + 2.364624), 0.0, np.inf)  # t = 1 with 7 degrees of freedom
    assert found.p_value == pytest.approx(0.3506, abs=1e-4)
    assert band("b", estimate(1.0, 0.5, 1.5), 0.7, 1.3).p_value is None


def test_preferred_needs_a_distance_of_four():
    outcomes = [preferred("p", delta, "a line", definition="d").outcome.name for delta in (5, 3, -3, -5, np.inf)]
    assert outcomes == ["SUPPORTED", "INCONCLUSIVE", "INCONCLUSIVE", "REFUTED", "INCONCLUSIVE"]


def test_exact():
    for holds, outcome in ((True, Outcome.SUPPORTED), (False, Outcome.REFUTED)):
        assert exact("x", holds=holds, effect=estimate(1.0, 1.0, 1.0), threshold="t").outcome is outcome


def rivals(leads, margin=0.1):
    return none_beats("n", [np.asarray(one) for one in leads], margin=margin, unit="u", definition="d")


def test_none_beats():
    noise = (EIGHT - 1) / 10
    assert rivals([noise, noise + 1]).outcome is Outcome.SUPPORTED
    assert rivals([noise, noise - 1]).outcome is Outcome.REFUTED
    assert rivals([noise, 10 * noise]).outcome is Outcome.INCONCLUSIVE
    assert rivals([]).outcome is Outcome.INCONCLUSIVE


def test_none_beats_allows_for_the_number_of_rivals():
    error = (EIGHT - 1).std(ddof=1) / 8**0.5
    behind = EIGHT - 1 - 2.6 * error  # p = 0.035 alone
    assert rivals([behind], margin=0.0).outcome is Outcome.REFUTED
    assert rivals([behind, *([EIGHT - 1] * 5)], margin=0.0).outcome is Outcome.INCONCLUSIVE


def test_slopes_are_those_of_each_seed():
    x = np.array([0.0, 1.0, 2.0, 3.0])
    y = np.stack([2 * x, 3 * x + 1, np.array([np.nan, 4.0, 8.0, 12.0]), np.array([np.nan, np.nan, 1.0, 2.0])])
    assert slopes_by_seed(x, y)[:3] == pytest.approx([2, 3, 4])
    assert np.isnan(slopes_by_seed(x, y)[3])
    found = slope_estimate(x, y, unit="u", definition="d")
    assert found.value == pytest.approx(3.0)
    assert found.count == 3


def test_the_whole_follows_from_its_parts():
    supported, refuted, open_, equal_ = (
        direct(EIGHT), direct(-EIGHT), direct(EIGHT - 1), direct(EIGHT - 1, margin=0.5),
    )  # fmt: skip
    same = equal(EIGHT - 1, 0.5)
    ignored = direct(-EIGHT, counts=False)
    assert all_of([supported, same, ignored]) is Outcome.SUPPORTED
    assert all_of([supported, refuted, open_]) is Outcome.REFUTED
    assert all_of([supported, open_]) is Outcome.INCONCLUSIVE
    assert all_of([supported, equal_]) is Outcome.EQUIVALENT
    assert all_of([same, same]) is Outcome.EQUIVALENT
    assert all_of([ignored]) is Outcome.INCONCLUSIVE
    assert same.kind is Kind.EQUIVALENCE


def test_margins_follow_the_test_set():
    assert accuracy_margin(10_000) == 0.005
    assert accuracy_margin(500) == 0.01
    assert accuracy_margin(None) == 0.01


def test_a_lead_that_too_few_seeds_share_says_so():
    assert "5 seeds do not pass the sign test" in describe(direct(EIGHT[:5]))
    assert "sign test" not in describe(direct(EIGHT)) + describe(direct(EIGHT - 1))
