"""Raising batches instead of decaying rates: what the runs really do, step by step, and what the judge makes of curves."""

import dataclasses
import itertools

import pytest

from critbatch.bed import Bed
from critbatch.budget import Progress
from critbatch.claim import Exhibit, Outcome
from critbatch.claims.smith_kindermans2018 import RaiseInsteadOfDecay
from critbatch.judging.raising import CHANGES, EPOCHS, FACTOR, LIMIT, ladder, raised
from critbatch.judging.worlds import exhibit_in
from critbatch.plan import Run
from critbatch.randomness import generator

FACTS = Bed(train=650).facts()  # batch sizes 1, 4, 16 and 64, most of which leave a smaller last batch


def phases(run: Run, size: int) -> list[tuple[int, int, float]]:
    """Return epoch, whole batch size and the engine's rate at every change of the last two, in a loop of our own."""
    progress, found = Progress(0, 0, 0.0, size), []
    for epoch in range(EPOCHS["full"]):
        streams = {"order": generator(0, "order", epoch), "base": generator(0, "order base")}
        batches = [len(one) for one in run.sampling.epoch(size, run.batch_size, number=epoch, **streams)]
        for batch in batches:
            factor = run.schedule.factor(run.budget.used(progress))
            if batch == max(batches):
                rate = run.learning_rate * factor * batch / run.batch_size
                if not found or found[-1][1:] != (batch, pytest.approx(rate)):
                    found.append((epoch, batch, rate))
            progress = Progress(progress.step + 1, progress.examples + batch, 0.0, size)
    return found


def test_the_rate_stays_while_the_batch_rises_and_both_change_at_the_same_step():
    run = raised(FACTS, "full", 0.1, 3).runs[0]
    assert phases(run, 650) == [(0, 1, 0.1), (30, 4, 0.1), (45, 16, 0.1), (54, 64, 0.1)]


def test_the_rate_falls_where_the_batch_does_not_rise():
    decay, once = (raised(FACTS, "full", 0.1, times).runs[0] for times in (0, 1))
    falls = [(0, 1, 0.1), (30, 1, 0.025), (45, 1, 0.00625), (54, 1, 0.0015625)]
    assert phases(decay, 650) == falls
    assert phases(once, 650) == [(0, 1, 0.1), (30, 4, 0.1), (45, 4, 0.025), (54, 4, 0.00625)]


@pytest.mark.parametrize("scale", ["smoke", "full"])
@pytest.mark.parametrize("size", [64, 100, 640, 1024, 2000, 60_000])
def test_batches_rise_by_the_factor_to_a_tenth_of_the_data(scale, size):
    found = ladder(dataclasses.replace(FACTS, train_size=size), scale)
    assert 2 <= len(found) <= len(CHANGES[scale]) + 1
    assert all(later == FACTOR[scale] * earlier for earlier, later in itertools.pairwise(found))
    assert found[-1] <= max(size / LIMIT, FACTOR[scale])


def test_a_missing_arm_is_no_verdict_and_no_error():
    claim = RaiseInsteadOfDecay()
    whole = exhibit_in(claim, "true", 0)
    for gone in ("raise", "decay", "tuning"):
        arms = {name: plan for name, plan in whole.arms.items() if name != gone}
        found = claim.judge(Exhibit(whole.scale, whole.facts, arms, whole.evidence))
        assert found.outcome is (Outcome.INCONCLUSIVE if gone != "tuning" else Outcome.SUPPORTED)
