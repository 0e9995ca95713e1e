"""What is special in the judges of Shallue et al.: one goal for all, slopes at the ends, training ended early."""

import dataclasses

import numpy as np
import polars as pl

from critbatch.analysis.choice import choice_of
from critbatch.analysis.grid import Track
from critbatch.analysis.heights import heights
from critbatch.bed import Bed
from critbatch.claim import Exhibit, Outcome
from critbatch.claims import registry
from critbatch.judging.reading import at_best_look
from critbatch.judging.steps_curve import inverse_critical, local_slope, log_steps_by_seed
from critbatch.plan import Plan
from critbatch.record import RECORD_SCHEMA, RUN_SCHEMA, Ending, Evidence

SIZES = (1, 4, 16, 64, 256, 1024)


def planted(s_min: float = 10.0, e_min: float = 400.0) -> dict:
    """Return choices whose steps at the best learning rate are a hyperbola, with seeds apart from each other."""
    octaves = np.arange(-2.0, 3.0)
    seeds = np.array([-0.1, 0.0, 0.1])
    return {
        size: choice_of(
            2.0**octaves,
            np.log(s_min + e_min / size) + 0.3 * octaves[:, None] ** 2 + seeds,
            np.full((5, 3), np.nan),
        )
        for size in SIZES
    }


def test_the_critical_batch_size_of_a_planted_hyperbola_is_found():
    found = inverse_critical(planted())
    assert found is not None
    np.testing.assert_allclose(1 / found[0], 40.0, rtol=1e-6)


def test_slopes_at_the_ends_are_those_of_the_planted_hyperbola():
    found = heights(planted())
    small = local_slope(found, found.sizes <= 4, definition="")
    large = local_slope(found, found.sizes >= 256, definition="")
    np.testing.assert_allclose(small.value, np.log(110 / 410) / np.log(4), rtol=1e-6)
    np.testing.assert_allclose(large.value, np.log((10 + 400 / 1024) / (10 + 400 / 256)) / np.log(4), rtol=1e-6)


def test_pseudo_values_give_back_the_seeds_of_a_planted_valley():
    values = log_steps_by_seed(planted()[16])
    np.testing.assert_allclose(values, np.log(35) + np.array([-0.1, 0.0, 0.1]), atol=1e-6)


def test_training_ended_early_is_read_where_validation_is_best():
    looks = np.arange(6.0)
    values = {
        "validation_accuracy": np.array([0, 1, 3, 5, 2, 1.0]),
        "test_accuracy": np.array([0, 10, 20, 30, 40, 50.0]),
    }
    track = Track(Ending.BUDGET, looks, looks, looks, values)
    assert at_best_look("test_accuracy", "validation_accuracy", "above")(track) == 20
    assert np.isnan(
        at_best_look("test_accuracy", "validation_accuracy", "above")(
            dataclasses.replace(track, ending=Ending.DIVERGED)
        )
    )


def test_judges_say_what_is_missing_where_nothing_was_run():
    empty = Evidence(pl.DataFrame(schema=RUN_SCHEMA), pl.DataFrame(schema={"run": pl.String} | RECORD_SCHEMA))
    for name in ("SHA-1", "SHA-2", "SHA-3", "SHA-4", "SHA-5"):
        claim = registry()[name]
        facts = {role: bed.facts() for role, bed in claim.beds("full").items()}
        arms = {arm: Plan(()).runs for arm in claim.arms("full", facts)}
        assert claim.judge(Exhibit("full", facts, arms, empty)).outcome is Outcome.INCONCLUSIVE


def test_tuned_settings_are_read_with_seeds_that_did_not_choose_them():
    claim = registry()["SHA-4"]
    facts = {"main": Bed(train=1000).facts()}
    chosen = {run.seed for plan in claim.arms("full", facts).values() for run in plan.runs}
    assert chosen.isdisjoint(range(12))
