"""What is special in the judges of Wilson and Martinez, LeCun and Bottou, and the answers to the founding question."""

import numpy as np
import pytest

from critbatch.claim import Exhibit, Outcome
from critbatch.claims import registry
from critbatch.claims.wilson_martinez2003_tasks import TABLES
from critbatch.datasets.uci import uci
from critbatch.judging.worlds import exhibit_from, exhibit_in
from tests.requirements import require_data


def judged(name, imagined, scale="full"):
    claim = registry()[name]
    facts = {role: bed.facts() for role, bed in claim.beds(scale).items()}
    return claim.judge(exhibit_from(claim, facts, scale, imagined))


def test_tables_have_as_many_training_rows_as_their_beds_say():
    require_data()
    assert {name: len(uci(name)[0].train) for name in TABLES} == TABLES


def test_accuracy_at_the_end_of_training_that_goes_on_is_not_compared():
    def climbing(arm, run, looks):
        value = 0.5 + 0.4 * looks / looks[-1] if run.batch_size > 1 else 0.9 - 0.8 * np.exp(-looks)
        return {"train_loss": 1.0, "validation_accuracy": value, "test_accuracy": value}

    verdict = judged("WM-3", climbing)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert any("converged" in note for note in verdict.notes)


@pytest.mark.parametrize(("off", "outcome"), [(1.0, Outcome.SUPPORTED), (1.02, Outcome.REFUTED)])
def test_the_batch_has_to_pay_for_copies_to_one_percent(off, outcome):
    claim = registry()["BL-1"]
    honest = claim.imagine("true", np.random.default_rng(0))

    def values(arm, run, looks):
        is_large = arm == "10 copies" and run.batch_size > 10
        return honest(arm, run, looks / off if is_large else looks)

    assert judged("BL-1", values).parts[0].outcome is outcome


def test_the_arithmetic_is_told_as_it_is():
    verdict = registry()["QA-4"].judge(exhibit_in(registry()["QA-4"], "true", 0))
    arithmetic = verdict.parts[2]
    assert arithmetic.effect.value == pytest.approx(0.41715)
    assert "540,000" in verdict.notes[0]
    assert "64.7" in verdict.notes[0]


def test_too_few_updates_and_a_rate_that_is_too_large_are_told_apart():
    claim = registry()["K-1"]
    verdict = claim.judge(exhibit_in(claim, "true", 0))
    outcomes = {part.name: part.outcome for part in verdict.parts}
    assert outcomes["the largest converges with more epochs"] is Outcome.SUPPORTED
    assert outcomes["the largest converges with the loss summed"] is Outcome.REFUTED
    assert "too few updates" in verdict.notes[0]


def test_what_was_not_lost_cannot_be_brought_back():
    claim = registry()["K-3"]
    verdict = claim.judge(exhibit_in(claim, "silent", 0))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "nothing to bring back" in verdict.reason


def test_a_sweep_without_a_second_stage_is_judged_alike():
    for name in ("WM-2", "K-1"):
        claim = registry()[name]
        whole = exhibit_in(claim, "true", 0)
        first = Exhibit(whole.scale, whole.facts, {"sweep": whole.arms["sweep"]}, whole.evidence)
        assert claim.judge(first).outcome in claim.affirmation(), name
