"""Special logic of the judges of QA-5, QA-6, QA-7 and IS-1; what holds for every claim is in the laws."""

import numpy as np
import pytest

from critbatch.claim import Kind, Outcome
from critbatch.claims.answer_one_cost import LessExactButAsAccurate, SplittingCostsTheSame
from critbatch.claims.answer_two import NoiseIsTheRegularizer
from critbatch.claims.ioffe2015 import BatchNormHoldsInputsStill
from critbatch.judging.worlds import exhibit_from


def judged(claim, imagined):
    facts = {role: bed.facts() for role, bed in claim.beds("full").items()}
    return claim.judge(exhibit_from(claim, facts, "full", imagined))


@pytest.mark.parametrize(("knee", "outcome"), [(7.0, Outcome.SUPPORTED), (9.0, Outcome.REFUTED)])
def test_overhead_is_read_off_the_line_through_step_times(knee, outcome):
    # at B = 32 a fifth of a step is overhead where a/b = 8
    def imagined(arm, run, looks):
        (timing,) = run.measurements
        load = 1 + 0.01 * run.seed  # of the machine: it must not matter
        return {"train_loss": 1.0} | {timing.whole(size): 1e-5 * load * (knee + size) for size in timing.batch_sizes}

    verdict = judged(SplittingCostsTheSame(), imagined)
    assert verdict.outcome is outcome
    assert verdict.parts[0].effect.value == pytest.approx(knee / (knee + 32), rel=1e-6)
    assert f"{knee:g}" in verdict.notes[0]


def test_an_excess_that_is_left_of_the_way_down_is_not_taken_for_noise():
    def imagined(arm, run, looks):
        found = {"train_loss": 1.0, "test_accuracy": 0.9 + 1e-4 * np.random.default_rng(run.seed).normal()}
        return found | ({} if arm == "network" else {"excess_objective": 0.1 + 0.001 / run.batch_size})

    slope = judged(LessExactButAsAccurate(), imagined).parts[0]
    assert slope.kind is Kind.TREND
    assert slope.outcome is Outcome.INCONCLUSIVE


def of_noise(arm, run, *, whole: float, regularized: float, fitted: float = 1.0):
    small = run.batch_size == NoiseIsTheRegularizer.SMALL
    test = 0.9 if small else regularized if "none" not in arm else whole
    test += 5e-4 * np.random.default_rng([run.seed, run.batch_size, len(arm)]).normal()
    return {
        "train_loss": 0.01, "train_accuracy": fitted, "validation_accuracy": test, "test_accuracy": test,
    }  # fmt: skip


def test_noise_that_helps_is_not_necessary_if_a_regularizer_does_as_much():
    claim = NoiseIsTheRegularizer()
    needed = judged(claim, lambda arm, run, looks: of_noise(arm, run, whole=0.87, regularized=0.88))
    assert needed.outcome is Outcome.SUPPORTED
    replaced = judged(claim, lambda arm, run, looks: of_noise(arm, run, whole=0.87, regularized=0.9))
    assert [part.outcome for part in replaced.parts[:3]] == [Outcome.SUPPORTED, Outcome.SUPPORTED, Outcome.REFUTED]
    assert replaced.outcome is Outcome.REFUTED


def test_networks_that_do_not_fit_their_training_set_do_not_count():
    verdict = judged(
        NoiseIsTheRegularizer(), lambda arm, run, looks: of_noise(arm, run, whole=0.87, regularized=0.88, fitted=0.99)
    )
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert all(part.effect.value is None for part in verdict.parts)


def test_a_run_that_never_arrives_counts_as_arriving_last_and_two_such_runs_not_at_all():
    claim = BatchNormHoldsInputsStill()

    def imagined(arrives):
        def values(arm, run, looks):
            step = arrives("normalised" in arm) * (1 + 0.02 * run.seed)
            found = {"train_loss": np.where(looks < step, 2.0, 0.1)}
            names = run.measurements[0].quantities if run.measurements else ()
            return found | dict.fromkeys(names, 0.001 * looks)

        return values

    alone = judged(claim, imagined(lambda normalised: 50 if normalised else 5000)).parts[0]
    assert alone.outcome is Outcome.SUPPORTED
    assert alone.effect.value < np.log(1000 / 30)
    neither = judged(claim, imagined(lambda normalised: 5000)).parts[0]
    assert neither.outcome is Outcome.INCONCLUSIVE
    assert neither.effect.value is None


def test_drift_is_the_path_of_the_percentiles_per_update():
    claim = BatchNormHoldsInputsStill()

    def values(arm, run, looks):
        way = (1.0 if "normalised" in arm else 4.0) * np.exp(0.01 * run.seed)
        names = run.measurements[0].quantities if run.measurements else ()
        zigzag = way * np.cumsum(np.diff(looks, prepend=0) * (-1.0) ** np.arange(len(looks)))
        return {"train_loss": 2 * np.exp(-0.05 * looks)} | dict.fromkeys(names, zigzag)

    drift = judged(claim, values).parts[1]
    assert drift.effect.value == pytest.approx(np.log(4), rel=1e-6)
