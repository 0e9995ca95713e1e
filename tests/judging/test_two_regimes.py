"""The two regimes: their sizes, runs that claims share, and numbers by seed from planted runs."""

import math

import numpy as np
import pytest

from critbatch.bed import Bed, common_bed
from critbatch.budgets.epochs import Epochs
from critbatch.claim import Exhibit
from critbatch.claims import registry
from critbatch.judging.reading import last
from critbatch.judging.two_regimes import (
    EPOCHS,
    both,
    by_seed,
    log_ratios,
    measured_regimes,
    regime,
    regime_bed,
    regime_sizes,
    sharpness_of,
)
from critbatch.judging.worlds import exhibit_from
from critbatch.optimizers.adam import Adam
from critbatch.task import Target

FACTS = regime_bed("full").facts()


@pytest.mark.parametrize(
    ("train", "expected"), [(2000, (25, 200)), (1024, (25, 102)), (400, (20, 40)), (50_000, (25, 5000))]
)
def test_the_large_batch_is_a_tenth_of_the_training_set_and_the_small_one_at_most_half_of_it(train, expected):
    assert regime_sizes(Bed(train=train).facts()) == expected


def test_the_bed_has_five_layers_and_batch_normalisation():
    assert regime_bed("full") == Bed(hidden=(64, 64, 64, 64, 64), norm="batch")
    assert regime_bed("full", "none") == Bed(hidden=(64,) * 5)
    assert regime_bed("smoke").data == "digits"


def test_both_regimes_differ_in_the_batch_size_alone():
    plans = both(FACTS, "full")
    assert list(plans) == ["small", "large"]
    assert [{run.batch_size for run in plan.runs} for plan in plans.values()] == [{25}, {200}]
    for plan in plans.values():
        assert [run.seed for run in plan.runs] == list(range(8))
        assert {(run.learning_rate, run.optimizer, run.budget) for run in plan.runs} == {(1e-3, Adam(), Epochs(100))}
    assert {run.task for run in plans["small"].runs} == {run.task for run in plans["large"].runs} == {FACTS.name}


def test_what_is_asked_for_besides_is_in_the_runs():
    target = Target("train_loss", 0.01, "below")
    plan = regime(FACTS, "smoke", 25, rates=(0.1, 0.2), target=target)
    assert {run.learning_rate for run in plan.runs} == {0.1, 0.2}
    assert {(run.target, run.budget) for run in plan.runs} == {(target, Epochs(EPOCHS["smoke"]))}
    assert len(plan.runs) == 2 * 3


def test_solutions_are_measured_at_the_end_alone():
    for kind in ("running", "batch"):
        measured = sharpness_of("full", kind)
        assert all(one.looks_per_decade == 0 and one.at_the_end for one in measured)
    assert len(sharpness_of("full", "batch")) == 1
    quantities = {name for one in sharpness_of("full") for name in one.quantities}
    assert {"keskar_sharpness[full,0.001]", "keskar_sharpness[random,0.0005]", "adaptive_sharpness[elementwise]",
            "fisher_rao_norm", "hessian_trace", "distance_from_start"} <= quantities  # fmt: skip


def test_claims_about_the_two_regimes_share_their_runs():
    expected = {arm: [run.id for run in plan.runs] for arm, plan in measured_regimes(FACTS, "full").items()}
    for name in ("KES-1", "KES-2", "KES-6", "DIN-2"):
        claim = registry()[name]
        arms = claim.arms("full", {role: bed.facts() for role, bed in claim.beds("full").items()})
        assert {arm: [run.id for run in arms[arm].runs] for arm in expected} == expected, name
    assert FACTS.name != common_bed("full").name


def planted() -> Exhibit:
    """Return KES-6's runs: distances 2 + seed and 1 + seed; no large run 1, a small run 2 without the number."""

    def values(arm, run, looks):
        if (arm, run.seed) == ("large", 1):
            return None
        distance = 1.0 + run.seed + (arm == "small")
        return {"train_loss": 0.1, "distance_from_start": np.nan if (arm, run.seed) == ("small", 2) else distance}

    return exhibit_from(registry()["KES-6"], {"main": FACTS}, "full", values)


def test_numbers_are_by_seed_without_what_is_missing_or_diverged():
    exhibit, read = planted(), last("distance_from_start")
    assert by_seed(exhibit, "small", read) == {seed: 2.0 + seed for seed in (0, 1, 3, 4, 5, 6, 7)}
    assert by_seed(exhibit, "large", read) == {seed: 1.0 + seed for seed in (0, 2, 3, 4, 5, 6, 7)}
    assert by_seed(exhibit, "nowhere", read) == {}
    assert by_seed(exhibit, "small", last("nothing")) == {}


def test_ratios_are_of_the_seeds_that_both_have_above_nothing():
    exhibit, read = planted(), last("distance_from_start")
    found = log_ratios(*(by_seed(exhibit, arm, read) for arm in ("small", "large")))
    expected = [math.log10((2 + seed) / (1 + seed)) for seed in (0, 3, 4, 5, 6, 7)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(
        log_ratios({2: 10.0, 0: 5.0, 3: 1.0, 4: -1.0}, {0: 50.0, 2: 1.0, 3: 0.0, 4: 1.0}), [-1, 1]
    )
    assert log_ratios({}, {0: 1.0}).shape == (0,)
