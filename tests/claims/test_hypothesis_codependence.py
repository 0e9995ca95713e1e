"""H1: what supports it, what refutes it, and what is only a matter of the step's length."""

import numpy as np
import pytest

from critbatch.claim import Outcome
from critbatch.claims.hypothesis_codependence import BLOCKS, CHECKPOINTS, SWEEP, CoDependence
from critbatch.judging.worlds import exhibit_from

CLAIM = CoDependence()
FACTS = {role: bed.facts() for role, bed in CLAIM.beds("full").items()}


def judged(world, change=lambda arm, run, values: None):
    """Return the verdict on a world but for what `change` does to a run's records."""
    usual = CLAIM.imagine(world, np.random.default_rng(1))

    def imagined(arm, run, looks):
        values = usual(arm, run, looks)
        change(arm, run, values)
        return values

    return CLAIM.judge(exhibit_from(CLAIM, FACTS, "full", imagined))


def part_of(verdict, beginning: str):
    return next(part for part in verdict.parts if part.name.startswith(beginning))


def test_a_rise_without_an_intervention_that_helps_is_no_support():
    plain = CLAIM.imagine("false", np.random.default_rng(2))

    def change(arm, run, values):
        if arm == BLOCKS:
            values |= plain(arm, run, np.arange(len(values["test_accuracy"])) * 1.0)

    found = judged("true", change)
    assert part_of(found, "steps of larger").outcome is Outcome.SUPPORTED
    assert found.outcome is Outcome.INCONCLUSIVE


def test_a_shift_that_comes_with_longer_steps_alone_is_told_apart():
    found = judged("false")
    assert found.outcome is Outcome.REFUTED
    assert any("the step's length does it" in note for note in found.notes)
    assert not judged("true").notes


def test_flat_is_shown_not_assumed():
    def flat(spread):
        draw = np.random.default_rng(3)

        def change(arm, run, values):
            if arm == CHECKPOINTS:
                for name in values:
                    if name.startswith("gradient_shift["):
                        own = np.exp(spread * draw.normal(size=np.shape(values[name])))
                        values[name] = 3 * own * values[name.replace("gradient_shift", "step_progress")]

        return part_of(judged("false", change), "steps of larger").outcome

    assert flat(0.02) is Outcome.EQUIVALENT
    assert flat(15.0) is Outcome.INCONCLUSIVE


def test_steps_that_remove_no_loss_are_left_out_of_the_slope():
    def change(arm, run, values):
        if arm == CHECKPOINTS:
            for size in (16, 64, 256, 1024, 2000):
                end = f"[B={size},step=length]"
                values[f"gradient_shift{end}"] = 0.1 * size**0.5
                values[f"step_progress{end}"] = -0.1 if size == 16 else 0.1

    part = part_of(judged("true", change), "steps of larger")
    assert part.effect.value == pytest.approx(0.5 * np.log(2), rel=1e-9)


def test_without_a_gap_nothing_is_decided():
    def change(arm, run, values):
        if arm == SWEEP:
            values["test_accuracy"] = values["validation_accuracy"] = 0.9 + 0.001 * (run.seed % 2)

    assert judged("false", change).outcome is Outcome.INCONCLUSIVE
