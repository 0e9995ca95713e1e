"""Learning rate and batch size times the same factors: which runs, and their arithmetic on curves known in closed form."""

import numpy as np
import pytest

from critbatch.bed import common_bed
from critbatch.claim import Exhibit, Outcome
from critbatch.claims import registry
from critbatch.judging.protocol import common_sweep
from critbatch.judging.same_ratio import (
    FACTORS,
    SLOW,
    arm_of,
    by_curves,
    first_row,
    places_of,
    ratio_arms,
    same_curves,
    same_ends,
)
from critbatch.judging.worlds import exhibit_from

FACTS = common_bed("full").facts()
OF_SEED = np.array([0.30, 0.34, 0.41, 0.45, 0.52, 0.55, 0.61, 0.70])
APART = {16: 0.01, 64: 0.0, 256: 0.4}  # of the exponent, by batch size


def planted(lost: float = 0.0, keep=lambda run: True) -> Exhibit:
    """Return JAS-2's runs: losses (1 + epochs)^-(seed's + batch size's exponent), the best rate at 64 being 0.5."""

    def values(arm, run, looks):
        if not keep(run):
            return None
        power = OF_SEED[run.seed] + APART[run.batch_size]
        validation = 0.9 - 0.01 * abs(np.log2(run.learning_rate * 64 / run.batch_size / 0.5))
        test = (
            0.8 + 0.01 * OF_SEED[run.seed] - lost * (run.batch_size == 256) + 0.05 * run.learning_rate / run.batch_size
        )
        loss = (1 + looks * run.batch_size / 2000) ** -power
        return {"train_loss": loss, "validation_accuracy": validation, "test_accuracy": test}

    return exhibit_from(registry()["JAS-2"], {"main": FACTS}, "full", values)


def test_the_rate_is_chosen_among_runs_of_the_common_sweep():
    tuning = first_row(FACTS, "full")["tuning"]
    assert {run.batch_size for run in tuning.runs} == {64}
    assert {run.id for run in tuning.runs} < {run.id for run in common_sweep(FACTS, "full").runs}


def test_factors_keep_the_ratio_that_is_best_on_validation():
    arms = ratio_arms(planted())
    assert set(arms) == {arm_of(factor, slow) for factor in FACTORS for slow in SLOW}
    for slow in SLOW:
        for factor in FACTORS:
            plan = arms[arm_of(factor, slow)]
            assert {(run.batch_size, run.learning_rate) for run in plan.runs} == {(64 * factor, 0.5 * factor / slow)}
            assert [run.seed for run in plan.runs] == list(range(8))
    assert arm_of(0.25, 8) == "times 0.25, rate / 8"
    shared = {run.id for run in common_sweep(FACTS, "full").runs}
    assert all(run.id in shared for factor in FACTORS for run in arms[arm_of(factor)].runs)


def test_two_claims_share_these_runs():
    exhibit = planted()
    first, second = (
        {run.id for plan in registry()[name].next_arms(exhibit).values() for run in plan.runs}
        for name in ("JAS-2", "CS-4")
    )
    assert first == second


def test_nothing_is_asked_for_where_no_rate_trained():
    exhibit = planted(keep=lambda run: run.seed != 3)
    assert ratio_arms(exhibit) == {}
    verdict = registry()["JAS-2"].judge(exhibit)
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_a_factor_never_exceeds_the_training_set():
    small = common_bed("smoke").facts()
    exhibit = exhibit_from(
        registry()["JAS-2"], {"main": small}, "smoke",
        lambda arm, run, looks: {"train_loss": 1.0, "validation_accuracy": 0.5 + run.learning_rate / 10, "test_accuracy": 0.5},
    )  # fmt: skip
    sizes = {run.batch_size for plan in ratio_arms(exhibit).values() for run in plan.runs}
    assert max(sizes) <= small.train_size
    assert len(sizes) == 3


def test_curves_are_log_losses_at_equal_epochs():
    places = places_of("full")
    assert (places[0], places[-1]) == pytest.approx((1, 30))
    np.testing.assert_allclose(np.diff(np.log(places)), np.log(30) / 11)
    for factor in FACTORS:
        curves = by_curves(planted(), factor)
        assert list(curves) == list(range(8))
        for seed, curve in curves.items():
            # a power of 1 + epochs is straight where the curve is interpolated
            expected = -(OF_SEED[seed] + APART[round(64 * factor)]) * np.log1p(places)
            np.testing.assert_allclose(curve, expected, rtol=1e-6)
    assert by_curves(planted(), 3.0) == {}


def test_runs_that_diverged_have_no_curve():
    found = by_curves(planted(keep=lambda run: run.batch_size != 16 or run.seed != 2), 0.25)
    assert sorted(found) == [0, 1, 3, 4, 5, 6, 7]


def test_a_seed_is_compared_with_itself_and_with_the_others_at_factor_1():
    parts = same_curves(planted())
    assert [part.counts for part in parts] == [True, True, False, False]
    mean_log = np.log1p(places_of("full")).mean()
    for part, apart in zip(parts, [APART[16], APART[256]] * 2, strict=True):
        leads = [
            np.mean([abs(OF_SEED[other] - OF_SEED[seed]) for other in range(8) if other != seed]) - apart
            for seed in range(8)
        ]
        assert part.effect.value == pytest.approx(np.mean(leads) * mean_log, rel=1e-6)
    assert parts[0].outcome is Outcome.SUPPORTED
    assert parts[1].outcome is Outcome.REFUTED


@pytest.mark.parametrize(("lost", "outcome"), [(0.0, Outcome.EQUIVALENT), (0.02, Outcome.REFUTED)])
def test_ends_are_compared_by_seed_with_factor_1(lost, outcome):
    best, slow = same_ends(planted(lost))
    assert (best.outcome, slow.outcome) == (outcome, outcome)
    assert (best.counts, slow.counts) == (True, False)
    assert best.effect.value == pytest.approx(lost, abs=1e-9)
    assert best.effect.count == 8
