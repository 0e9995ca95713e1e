"""The proximal method decides at large batches and equal batches read; every size has to be there."""

import pytest

from critbatch.claim import Exhibit, Outcome
from critbatch.claims.li2014 import BATCHES, INNER, ProximalStep
from critbatch.judging.worlds import exhibit_from, exhibit_in
from critbatch.optimizers.proximal import Proximal
from critbatch.samplings.repeated import Repeated


def test_both_methods_take_as_many_gradients_and_the_proximal_one_reads_every_batch_three_times():
    claim = ProximalStep()
    facts = {"main": claim.beds("full")["main"].facts()}
    plain, proximal = (claim.arms("full", facts)[name].runs for name in ("plain", "proximal"))
    assert {run.budget for run in plain} == {run.budget for run in proximal}
    assert {run.budget.most_steps(run.batch_size, 2000) for run in plain} == {INNER * BATCHES["full"]}
    assert [(run.batch_size, run.learning_rate, run.seed) for run in plain] == [
        (run.batch_size, run.learning_rate, run.seed) for run in proximal
    ]
    assert all(run.optimizer.inner_steps == run.sampling.times == INNER for run in proximal)
    assert all(isinstance(run.optimizer, Proximal) and isinstance(run.sampling, Repeated) for run in proximal)


@pytest.mark.parametrize(("loses_at", "outcome"), [(62, Outcome.SUPPORTED), (666, Outcome.REFUTED)])
def test_one_large_batch_size_at_which_it_loses_refutes_it_and_a_small_one_does_not(loses_at, outcome):
    claim = ProximalStep()
    facts = {"main": claim.beds("full")["main"].facts()}

    def values(arm, run, looks):
        objective = 2 / (1 + looks) ** 0.3 * (1 + 0.01 * ((run.seed * 7 + run.batch_size) % 5))
        worse = 3.0 if run.batch_size == loses_at else 0.5
        return {"train_objective": objective * (worse if arm != "plain" else 1.0)}

    assert claim.judge(exhibit_from(claim, facts, "full", values)).outcome is outcome


def test_a_size_without_runs_is_no_verdict():
    claim = ProximalStep()
    whole = exhibit_in(claim, "true", 0)
    arms = whole.arms | {"proximal": tuple(run for run in whole.arms["proximal"] if run.batch_size != 666)}
    assert claim.judge(Exhibit(whole.scale, whole.facts, arms, whole.evidence)).outcome is Outcome.INCONCLUSIVE
