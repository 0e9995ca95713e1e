"""What the judges of QA-1 and QA-3 do besides the laws of all judges."""

import numpy as np
import pytest

from critbatch.claim import Outcome
from critbatch.claims import registry
from critbatch.judging.one_step import made_up
from critbatch.judging.worlds import exhibit_from

ONE, THREE = registry()["QA-1"], registry()["QA-3"]


def judged(claim, values):
    facts = {role: bed.facts() for role, bed in claim.beds("full").items()}
    return claim.judge(exhibit_from(claim, facts, "full", values))


def stepping(curvature):
    """Return a world in which single steps meet this curvature at a batch size, with a little noise."""
    generator = np.random.default_rng(0)
    return lambda arm, run, looks: made_up(
        run, looks, lambda size: curvature(size) * np.exp(0.05 * generator.normal(size=len(looks)))
    )


def test_a_gain_of_another_shape_leaves_the_claim_open_but_does_not_refute_it():
    found = judged(ONE, stepping(lambda size: (2000 / size) ** 0.5))
    rises, never_falls, saturates = found.parts
    assert (rises.outcome, never_falls.outcome) == (Outcome.SUPPORTED, Outcome.SUPPORTED)
    assert saturates.outcome is Outcome.REFUTED
    assert found.outcome is Outcome.INCONCLUSIVE


def test_one_worse_larger_batch_refutes_it():
    found = judged(ONE, stepping(lambda size: (1 + 30 / size) * (1.8 if size == 256 else 1.0)))
    assert found.parts[0].outcome is Outcome.SUPPORTED
    assert found.outcome is Outcome.REFUTED


def test_rates_at_which_a_small_batch_gains_more_are_counted():
    plain = judged(ONE, stepping(lambda size: 1 + 30 / size))
    curved = judged(ONE, stepping(lambda size: 40 - 30 / size))  # tr(H Sigma) below 0
    counted = [int(one.notes[0].split(" in ")[1].split(" of ")[0]) for one in (plain, curved)]
    assert counted[0] == 0
    assert counted[1] > 10


@pytest.mark.parametrize(
    ("critical", "large"), [(10, [16, 64, 256, 1024, 2000]), (100, [256, 1024, 2000]), (700, [256, 1024, 2000])]
)
def test_the_slope_above_the_critical_batch_size_is_the_hyperbolas(critical, large):
    def values(arm, run, looks):
        late = 200 * (1 + critical / run.batch_size) * (1 + 0.3 * np.log2(run.learning_rate / 0.125) ** 2)
        late *= 1 + 0.01 * np.sin(run.seed + run.batch_size)
        return {"train_loss": 2 * np.exp(-looks / late)}

    found = judged(THREE, values)
    assert found.outcome is Outcome.SUPPORTED
    slope = np.polyfit(np.log(large), np.log(1 + np.array(large) / critical), 1)[0]
    assert found.parts[0].effect.value == pytest.approx(slope, abs=0.03)
    assert float(found.notes[0].split()[-1]) == pytest.approx(critical, rel=0.1)
