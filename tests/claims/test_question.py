"""The question is judged where training without a warm-up still works."""

import numpy as np
import pytest

from critbatch.claim import Outcome
from critbatch.claims.question import EarlySmallSteps
from critbatch.judging.worlds import exhibit_from


def exhibit(fails_from: int, *, stalls: bool = False):
    """Return evidence in which training without a warm-up diverges, or learns nothing, from a batch size on."""
    claim = EarlySmallSteps()
    facts = {"main": claim.beds("full")["main"].facts()}

    def values(arm, run, looks):
        fails = arm == "none" and run.batch_size >= fails_from
        if fails and not stalls:
            return None
        end = 0.05 if not fails else 2.0
        share = looks / looks[-1]
        accuracy = 0.9 + 0.001 * (run.seed % 3) - 0.02 * (arm == "none")
        return {
            "train_loss": end + (2.3 - end) * np.exp(-8 * share), "test_accuracy": accuracy,
            "validation_accuracy": accuracy - 0.01 * abs(np.log2(run.learning_rate) + 5) * (arm == "tuning"),
        }  # fmt: skip

    return claim, exhibit_from(claim, facts, "full", values)


@pytest.mark.parametrize("stalls", [False, True])
@pytest.mark.parametrize(("fails_from", "size"), [(128, 64), (512, 256), (10_000, 1024)])
def test_the_largest_batch_size_that_trains_without_a_warm_up_decides(fails_from, size, stalls):
    claim, seen = exhibit(fails_from, stalls=stalls)
    found = claim.judge(seen)
    assert found.notes == (f"the largest batch size that trains without a warm-up is {size}",)
    assert f"batch size {size}" in found.parts[0].effect.definition
    assert found.outcome is Outcome.SUPPORTED
    assert found.parts[0].effect.value == pytest.approx(0.02)


def test_where_nothing_trains_without_a_warm_up_there_is_no_verdict():
    claim, seen = exhibit(1)
    assert claim.judge(seen).outcome is Outcome.INCONCLUSIVE
