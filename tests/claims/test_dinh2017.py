"""Dinh et al.: which runs are measured, and what one seed among eight decides."""

import dataclasses

import numpy as np
import polars as pl
import pytest

from critbatch.bed import common_bed
from critbatch.budgets.epochs import Epochs
from critbatch.claim import Exhibit, Outcome
from critbatch.claims import registry
from critbatch.judging.worlds import exhibit_from, exhibit_in
from critbatch.measurements.rescaled_sharpness import RescaledSharpness
from critbatch.optimizers.sgd import SGD

ALPHAS = (1.0, 2.0, 5.0, 10.0, 30.0, 100.0)


def planted(name: str, **rises) -> Exhibit:
    """Return runs in which a measure is 3 (1 + seed) at alpha 1 and `rises[measure](alpha, seed)` times that at alpha."""

    def values(arm, run, looks):
        found = {"train_loss": 0.01}
        for alpha in ALPHAS:
            for measure in (
                "keskar",
                "eigenvalue",
                "keskar_random",
                "keskar_adaptive",
                "elementwise",
                "filter",
                "fisher_rao",
            ):
                rise = rises.get(measure, lambda alpha, seed: 1.0)(alpha, run.seed)
                found[f"rescaled_{measure}[{alpha:g}]"] = 3.0 * (1 + run.seed) * rise
            found[f"rescaled_logit_change[{alpha:g}]"] = rises.get("change", lambda alpha, seed: 1e-5)(alpha, run.seed)
        if arm != "rescaled":
            ratio = rises.get("ratio", 100.0) if arm == "large" else 1.0
            found["adaptive_sharpness[elementwise]"] = ratio * (1 + 0.01 * run.seed)
        return found

    claim = registry()[name]
    return exhibit_from(claim, {role: bed.facts() for role, bed in claim.beds("full").items()}, "full", values)


def steep(alpha, seed):
    return alpha


def test_plain_trainings_of_the_common_bed_are_measured_by_both_claims():
    ids = []
    for name in ("DIN-1", "DIN-2"):
        claim = registry()[name]
        runs = claim.arms("full", {role: bed.facts() for role, bed in claim.beds("full").items()})["rescaled"].runs
        assert {(run.batch_size, run.learning_rate, run.optimizer, run.budget) for run in runs} == {
            (16, 0.25, SGD(), Epochs(30))
        }
        assert {run.task for run in runs} == {common_bed("full").name}
        assert {run.measurements for run in runs} == {(RescaledSharpness(ALPHAS),)}
        ids.append([run.id for run in runs])
    assert ids[0] == ids[1]
    assert len(ids[0]) == 8


def test_the_seed_that_changes_least_at_its_largest_alpha_decides():
    exhibit = planted(
        "DIN-1", keskar=lambda alpha, seed: alpha ** (0.6 + 0.1 * seed), eigenvalue=lambda alpha, seed: alpha**2
    )
    verdict = registry()["DIN-1"].judge(exhibit)
    found = [part.effect.value for part in verdict.parts]
    assert found == pytest.approx([1e-5, 100**0.6, 1e4, 1.0])
    assert verdict.outcome is Outcome.SUPPORTED
    assert [part.counts for part in verdict.parts] == [True, True, True, False]
    assert "smallest ratio of the Hessian's largest eigenvalue: 1" in verdict.notes


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, Outcome.SUPPORTED),
        ({"keskar": lambda alpha, seed: alpha if seed != 3 else 9.9 if alpha == 30 else 1.0}, Outcome.REFUTED),
        ({"keskar": lambda alpha, seed: alpha if seed != 3 else 10.1 if alpha == 30 else 1.0}, Outcome.SUPPORTED),
        ({"change": lambda alpha, seed: 1.1e-4 if (alpha, seed) == (5.0, 7) else 0.0}, Outcome.REFUTED),
    ],
)
def test_one_seed_refutes_what_is_said_of_all(changes, outcome):
    exhibit = planted("DIN-1", **{"keskar": steep, "eigenvalue": steep} | changes)
    assert registry()["DIN-1"].judge(exhibit).outcome is outcome


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, Outcome.SUPPORTED),
        ({"filter": lambda alpha, seed: 1.009}, Outcome.SUPPORTED),
        ({"filter": lambda alpha, seed: 0.98 if (alpha, seed) == (2.0, 0) else 1.0}, Outcome.REFUTED),
        ({"ratio": 0.5}, Outcome.REFUTED),
        ({"ratio": 1.0}, Outcome.INCONCLUSIVE),
    ],
)
def test_measures_stay_within_a_hundredth_and_the_one_named_beforehand_is_larger_for_large_batches(changes, outcome):
    verdict = registry()["DIN-2"].judge(planted("DIN-2", **changes))
    assert verdict.outcome is outcome
    parts = {part.name: part for part in verdict.parts}
    decides = parts["adaptive sharpness, elementwise: larger for the large batch"]
    assert decides.counts
    assert decides.effect.value == pytest.approx(np.log10(changes.get("ratio", 100.0)))
    assert sum(part.counts for part in verdict.parts) == 6


def without(exhibit: Exhibit, quantity: str, seed: int) -> Exhibit:
    run = exhibit.arms["rescaled"][seed].id
    gone = (pl.col("run") == run) & (pl.col("quantity") == quantity)
    records = exhibit.evidence.records.with_columns(value=pl.when(gone).then(float("nan")).otherwise(pl.col("value")))
    return dataclasses.replace(exhibit, evidence=dataclasses.replace(exhibit.evidence, records=records))


def test_a_seed_without_a_measure_at_some_alpha_is_left_out():
    exhibit = without(planted("DIN-1", keskar=steep, eigenvalue=steep), "rescaled_keskar[5]", 4)
    verdict = registry()["DIN-1"].judge(exhibit)
    assert [part.effect.count for part in verdict.parts] == [8, 7, 8, 8]


@pytest.mark.parametrize("name", ["DIN-1", "DIN-2"])
def test_an_output_that_is_not_finite_does_not_stop_the_judge(name):
    exhibit = without(exhibit_in(registry()[name], "true", 0), "rescaled_logit_change[100]", 3)
    assert registry()[name].judge(exhibit).parts[0].effect.count == 7
