"""H3: what decides, and the check of the table."""

import numpy as np
import pytest

from critbatch.claim import Kind, Outcome
from critbatch.claims.hypothesis_correlation import FRESH, TABLE, Correlation
from critbatch.judging.protocol import common_sweep
from critbatch.judging.worlds import exhibit_from

CLAIM = Correlation()
FACTS = {role: bed.facts() for role, bed in CLAIM.beds("full").items()}


def judged(change):
    """Return the verdict on a world in which the claim is true but for what `change` does to a run's records."""
    usual = CLAIM.imagine("true", np.random.default_rng(0))

    def imagined(arm, run, looks):
        values = usual(arm, run, looks)
        change(arm, run, values)
        return values

    return CLAIM.judge(exhibit_from(CLAIM, FACTS, "full", imagined))


def lower(values, by):
    for name in ("validation_accuracy", "test_accuracy"):
        values[name] = values[name] - by


@pytest.mark.parametrize(
    ("left", "outcome"), [(0.0, Outcome.SUPPORTED), (0.25, Outcome.INCONCLUSIVE), (0.8, Outcome.REFUTED)]
)
def test_what_is_left_of_the_deficit_on_fresh_data_decides(left, outcome):
    def change(arm, run, values):
        if arm == FRESH:
            lower(values, left * 0.06 * np.log2(run.batch_size / 16) / 7)

    assert judged(change).outcome is outcome


def test_without_a_deficit_on_re_used_data_there_is_nothing_to_explain():
    def change(arm, run, values):
        if arm in {FRESH, "re-used data"}:
            lower(values, -0.06 * np.log2(run.batch_size / 16) / 7)

    assert judged(change).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize(("bias", "error", "outcome"), [
    (0.0, 0.015, Outcome.SUPPORTED), (0.1, 0.015, Outcome.REFUTED), (0.0, 0.2, Outcome.INCONCLUSIVE),
])  # fmt: skip
def test_one_cell_off_its_prediction_fails_the_table_and_blurred_cells_leave_it_open(bias, error, outcome):
    def change(arm, run, values):
        if arm == TABLE:
            values["batch_correlation[epoch,B=500]"] = values["batch_correlation[epoch,B=500]"] + bias
            values["batch_correlation_error[epoch,B=500]"] = error

    part = next(part for part in judged(change).parts if part.kind is Kind.EXACT)
    assert part.outcome is outcome
    if bias:
        assert part.effect.value == pytest.approx(bias, abs=0.02)
        assert "batch_correlation[epoch,B=500]" in part.effect.definition


def test_re_used_data_are_the_common_sweeps_and_no_fresh_image_is_seen_twice():
    arms = CLAIM.arms("full", FACTS)
    shared = {run.id for run in common_sweep(FACTS["main"], "full").runs}
    assert {run.id for run in arms["re-used data"].runs} <= shared
    sizes = {run.batch_size for run in arms["re-used data"].runs}
    assert sizes == {run.batch_size for run in arms[FRESH].runs} == {16, 256, 2000}
    read = CLAIM.passes["full"] * 2000
    for run in arms[FRESH].runs:
        steps = int(np.ceil(run.budget.examples / run.batch_size))
        assert steps <= 58_000 // run.batch_size
        assert steps * run.batch_size >= read * 1.05  # a look follows, so that what is read is smoothed as the other is
