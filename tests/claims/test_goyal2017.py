"""Scaling by a rule: what is asked for, where the limit lies, and what the training loss explains."""

import numpy as np
import pytest

from critbatch.bed import Bed
from critbatch.claim import Outcome
from critbatch.claims import registry
from critbatch.judging.linear_scaling import BASE, log_elbows, lost, residual_slopes, scaled
from critbatch.judging.scaled import all_equal, base_rate, largest_kept
from critbatch.judging.worlds import exhibit_from, exhibit_in
from critbatch.schedules.milestones import Milestones

FACTS = Bed().facts()
SEEDS = 8


def noise(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(size, SEEDS))


@pytest.mark.parametrize(("exponent", "rises"), [(1.0, (1, 4, 64)), (0.5, (1, 2, 8)), (0.0, (1, 1, 1))])
def test_rates_follow_the_rule_and_warm_up_from_the_base(exponent, rises):
    plan = scaled(FACTS, "full", 0.03, (1, 4, 64), exponent=exponent)
    for factor, rise in zip((1, 4, 64), rises, strict=True):
        of_size = [run for run in plan.runs if run.batch_size == BASE * factor]
        assert len(of_size) == SEEDS
        for run in of_size:
            assert run.learning_rate == pytest.approx(0.03 * rise)
            assert run.learning_rate * run.schedule.factor(0.0) == pytest.approx(0.03)
            assert run.schedule.factor(0.2) == 1
            assert run.schedule.factor(0.95) == pytest.approx(1e-3)


def test_a_constant_warm_up_stays_low_and_none_begins_high():
    constant, none = (scaled(FACTS, "full", 0.03, (8,), warmup=one).runs[0] for one in ("constant", "none"))
    assert constant.schedule.factor(0.16) == pytest.approx(1 / 8)
    assert constant.schedule.factor(0.17) == 1
    assert none.schedule == Milestones()


def test_batches_larger_than_the_training_set_are_not_asked_for():
    facts = Bed(train=100).facts()
    assert {run.batch_size for run in scaled(facts, "full", 0.03, (1, 2, 4, 8)).runs} == {16, 32, 64}


def test_the_base_runs_are_those_of_the_tuning_so_that_nothing_is_trained_twice():
    exhibit = exhibit_in(registry()["GOY-3"], "true", 0)
    tuned = {run.id for run in exhibit.arms["tuning"]}
    for rule in ("linear", "sqrt", "fixed"):
        assert {run.id for run in exhibit.arms[rule] if run.batch_size == BASE} <= tuned


def test_claims_share_their_runs():
    exhibits = [exhibit_in(registry()[one], "true", 0) for one in ("GOY-2", "GOY-3")]
    assert len({base_rate(one, "tuning") for one in exhibits}) == 1  # in worlds that leave no doubt which is best
    assert exhibits[0].arms["linear"] == exhibits[1].arms["linear"]


def test_a_run_that_diverged_counts_as_untrained():
    claim = registry()["GOY-1"]
    exhibit = exhibit_in(claim, "true", 0)
    told = claim.imagine("true", np.random.default_rng(0))

    def dies(arm, run, looks):
        return None if arm == "linear" and run.batch_size == 1024 else told(arm, run, looks)

    died = exhibit_from(claim, exhibit.facts, "full", dies)
    assert np.isnan(lost(died, "linear")[64]).all()  # made-up runs that diverge leave no look of the start
    assert claim.judge(died).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("elbow", [2.5, 4.0])
def test_the_elbow_of_planted_losses_is_found(elbow):
    factors = (8, 32, 64, 128)
    rows = noise(len(factors)) * 1e-4
    losses = {one: 0.01 * max(np.log2(one) - elbow, -0.5) + row for one, row in zip(factors, rows, strict=True)}
    found = log_elbows(losses, 0.01)
    assert found.shape == (SEEDS + 1,)
    # between the factors the planted loss is a straight line in log2 factor, but for the corner below
    assert found == pytest.approx(elbow + 1, abs=0.2 if elbow < 3 else 0.05)


def test_there_is_no_elbow_where_nothing_is_lost():
    assert np.isnan(log_elbows({8: np.zeros(4), 64: np.full(4, 0.009)}, 0.01)).all()


def planted(cost: float) -> tuple[dict, dict]:
    """Return losses of three rules whose test metric follows the training loss, and `cost` for each doubling besides."""
    draws = np.random.default_rng(1)
    tests, losses = {}, {}
    for rule, lag in {"linear": 0.2, "sqrt": 0.4, "fixed": 0.6}.items():
        losses[rule] = {factor: lag * np.log2(factor) + draws.normal(size=SEEDS) * 0.01 for factor in (2, 4, 8, 16, 32)}
        tests[rule] = {
            factor: 0.01 * x + 0.003 * x**2 + cost * np.log2(factor) + draws.normal(size=SEEDS) * 1e-4
            for factor, x in losses[rule].items()
        }
    return tests, losses


@pytest.mark.parametrize("cost", [0.0, 0.004])
def test_what_the_training_loss_does_not_explain_is_found(cost):
    slopes = residual_slopes(*planted(cost))
    assert slopes == pytest.approx(cost, abs=6e-4)


def test_too_few_cells_explain_nothing():
    tests, losses = planted(0.0)
    few = {"linear": {2: tests["linear"][2]}}
    assert np.isnan(residual_slopes(few, losses)).all()
    assert residual_slopes({}, losses).size == 0


@pytest.mark.parametrize(
    ("means", "outcome"),
    [
        ((0.0, 0.001), Outcome.EQUIVALENT),
        ((0.0, 0.02), Outcome.REFUTED),
        ((0.0, -0.02), Outcome.REFUTED),
        ((0.0, 0.0055), Outcome.INCONCLUSIVE),
    ],
)
def test_all_are_equal_only_if_each_is(means, outcome):
    losses = [mean + 0.001 * (row - row.mean()) for mean, row in zip(means, noise(2), strict=True)]
    part = all_equal("kept", losses, margin=0.005, unit="", definition="")
    assert part.outcome is outcome
    assert part.effect.value == pytest.approx(means[1], abs=1e-9)


def test_what_is_missing_is_not_equal():
    part = all_equal("kept", [np.zeros(8), np.full(8, np.nan)], margin=0.005, unit="", definition="")
    assert part.outcome is Outcome.INCONCLUSIVE
    assert "missing" in part.effect.reason


def test_the_limit_is_the_last_factor_before_a_loss():
    losses = {2: np.zeros(3), 4: np.full(3, 0.004), 8: np.full(3, 0.02), 16: np.zeros(3)}
    assert largest_kept(losses, 0.005) == 4
    assert largest_kept({2: np.full(3, np.nan)}, 0.005) == 1
