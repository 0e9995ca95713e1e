"""What the judges of MCC-1 to MCC-6 do besides the laws of all judges."""

import numpy as np
import pytest

from critbatch.claim import Outcome
from critbatch.claims import registry
from critbatch.judging.worlds import exhibit_from, exhibit_in


def judged(name, values):
    claim = registry()[name]
    facts = {role: bed.facts() for role, bed in claim.beds("full").items()}
    return claim.judge(exhibit_from(claim, facts, "full", values))


def test_the_hyperbola_has_to_hold_at_four_goals_of_five():
    claim = registry()["MCC-1"]
    found = claim.judge(exhibit_in(claim, "true", 3))
    assert [part.outcome for part in found.parts] == [Outcome.SUPPORTED] * 5
    assert all(part.effect.value < 0.1 for part in found.parts)
    bent = claim.judge(exhibit_in(claim, "false", 3))
    assert [part.outcome for part in bent.parts] == [Outcome.REFUTED] * 5


def test_the_ratio_of_noise_scale_and_critical_batch_size_is_found():
    def values(arm, run, looks):
        best = min(2.0 ** (5 * np.log(run.batch_size) / np.log(256) - 5), 1.0)
        late = 200 * (1 + 100 / run.batch_size) * (1 + 0.2 * np.log2(run.learning_rate / best) ** 2)
        loss = 2 * np.exp(-looks / late)
        found = {"train_loss": loss, "validation_accuracy": 1 - loss / 3}
        if run.measurements:
            found |= {"gradient_covariance_trace": 600.0, "gradient_squared_norm": 1 + 0.1 * run.seed / 8}
        return found

    found = judged("MCC-2", values)
    assert found.parts[0].effect.value == pytest.approx(np.log10(6 / 1.044), abs=0.06)
    assert found.outcome is Outcome.SUPPORTED


def test_the_start_is_compared_with_the_average_over_steps():
    def values(arm, run, looks):
        loss = 1 / (1 + looks) + 0.001 * run.seed
        found = {"train_loss": loss, "validation_accuracy": 0.5}
        scale = np.where(looks == 0, 10.0, 50.0) + 0.01 * looks
        return found | {"gradient_covariance_trace": scale, "gradient_squared_norm": 1.0} if run.measurements else found

    found = judged("MCC-3", values)
    assert found.parts[1].effect.value == pytest.approx(6.0, abs=0.1)
    assert found.parts[0].effect.value == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("power", "outcome"), [(0.0, Outcome.EQUIVALENT), (1.0, Outcome.REFUTED)])
def test_noise_scales_are_compared_at_equal_loss(power, outcome):
    def values(arm, run, looks):
        size = int(arm)
        loss = 2 * np.exp(-looks / (size + 10 * run.seed))  # larger sets are slower: equal steps would mislead
        return {
            "train_loss": loss, "gradient_covariance_trace": loss**-1.5 * size**power * np.exp(0.01 * run.seed),
            "gradient_squared_norm": 1.0,
        }  # fmt: skip

    found = judged("MCC-4", values)
    assert found.parts[0].effect.value == pytest.approx(power, abs=0.05)
    assert found.outcome is outcome


def test_a_steady_drift_cancels_in_the_ratio_but_shows_in_the_return():
    def values(arm, run, looks):
        found = {"train_loss": 0.3 + 0.1 * np.log2(run.learning_rate / 0.25) ** 2 + 1 / (1 + looks)}
        if run.measurements:
            cold = (looks > 1000) & (looks <= 2000)
            scale = 50 * 2 ** (looks / 2000) * np.where(cold, 12.0, 1.0) * np.exp(0.02 * np.sin(run.seed + looks))
            found |= {"gradient_covariance_trace": scale, "gradient_squared_norm": 1.0}
        return found

    found = judged("MCC-5", values)
    ratio, back = found.parts
    assert ratio.effect.value == pytest.approx(12, rel=0.2)
    assert ratio.outcome is Outcome.SUPPORTED
    assert back.effect.value == pytest.approx(1.3 * np.log(2), abs=0.2)
    assert found.outcome is Outcome.REFUTED


def test_the_cycle_is_hot_then_sixteen_times_colder_then_hot():
    claim = registry()["MCC-5"]
    (plan,) = claim.next_arms(exhibit_in(claim, "true", 0)).values()
    run = plan.runs[0]
    rates = [run.learning_rate * run.schedule.factor(used) for used in (0.0, 0.24, 0.26, 0.49, 0.51, 0.99)]
    assert rates == pytest.approx([0.25, 0.25, 0.25 / 16, 0.25 / 16, 0.25, 0.25])


def test_two_laws_for_the_best_rate_are_told_apart_by_their_rival():
    claim = registry()["MCC-6"]
    for world, sign in (("true", 1), ("false", -1)):
        found = claim.judge(exhibit_in(claim, world, 5))
        assert sign * found.parts[1].effect.value > 4
        assert abs(found.parts[2].effect.value) < 0.1
