"""What judges read, on runs whose numbers are planted."""

import numpy as np
import pytest

from critbatch.budgets.steps import Steps
from critbatch.claim import Claim, Exhibit
from critbatch.claims import registry
from critbatch.judging.protocol import common_sweep, runs
from critbatch.judging.reading import (
    arm_grid,
    at,
    at_end,
    best_rate_by_seed,
    chosen_rate,
    last,
    steps_to,
    survived,
    tuned,
    vertex,
    worse,
)
from critbatch.judging.worlds import exhibit_from

RATES = [0.1, 0.2, 0.4, 0.8]


class Planted(type(registry()["QA-2"])):  # pyrefly: ignore
    """A claim whose one arm is a small grid."""

    id = "T-1"

    def arms(self, scale, facts):
        return {"sweep": runs(facts["main"], batch_sizes=[4, 16], rates=RATES, seeds=range(4), budget=Steps(100))}


def exhibit(imagined) -> Exhibit:
    claim: Claim = Planted()
    facts = {role: bed.facts() for role, bed in claim.beds("full").items()}
    return exhibit_from(claim, facts, "full", imagined)


def valley(arm, run, looks):
    """A validation accuracy that is best at 0.2, a test accuracy that tells the seed, and a loss that falls as 1/step."""
    if run.learning_rate > 0.5 and run.seed == 3:
        return None
    apart = np.log2(run.learning_rate / 0.2) ** 2
    return {
        "validation_accuracy": 0.9 - 0.1 * apart,
        "test_accuracy": 0.5 + 0.1 * run.seed,
        "train_loss": 1 / np.maximum(looks, 1),
    }


def test_numbers_under_a_budget():
    grid = arm_grid(exhibit(valley), "sweep")
    track = grid.tracks[4][0.2][1]
    assert at("updates", 10, "train_loss", grid.facts)(track) == pytest.approx(0.1, rel=0.02)
    assert at("examples", 40, "train_loss", grid.facts)(track) == pytest.approx(0.1, rel=0.02)
    assert at("epochs", 40 / 2000, "train_loss", grid.facts)(track) == pytest.approx(0.1, rel=0.02)
    assert np.isnan(at("updates", 101, "train_loss", grid.facts)(track))
    assert last("train_loss")(track) == pytest.approx(0.01)
    assert steps_to("train_loss", 0.1, "below")(track) == pytest.approx(10, rel=0.05)
    assert steps_to("train_loss", 1e-9, "below")(track) == np.inf
    dead = grid.tracks[4][0.8][3]
    assert survived(track) == 1
    assert survived(dead) == 0
    assert np.isnan(at_end("train_loss")(dead))
    assert np.isnan(last("train_loss")(dead))
    assert steps_to("train_loss", 0.1, "below")(dead) == np.inf


def test_a_learning_rate_is_chosen_on_the_other_seeds():
    def lucky(arm, run, looks):
        found = dict(valley(arm, run, looks) or {})
        if run.learning_rate == 0.1 and run.seed == 0:
            found["validation_accuracy"] = 5.0  # by chance: the mean over all seeds would choose 0.1
            found["test_accuracy"] = 5.0
        return found

    grid = arm_grid(exhibit(lucky), "sweep")
    score = worse(grid, at_end("validation_accuracy"))
    found = tuned(grid, 4, score=score, read=at_end("test_accuracy"))
    assert found[0] == pytest.approx(0.5)  # at 0.2, the others' choice
    assert chosen_rate(grid, 4, score=score) == 0.1


def test_a_rate_at_which_a_run_died_is_not_chosen():
    def rising(arm, run, looks):
        return None if run.learning_rate > 0.5 and run.seed == 3 else {"validation_accuracy": run.learning_rate}

    grid = arm_grid(exhibit(rising), "sweep")
    score = worse(grid, at_end("validation_accuracy"))
    assert chosen_rate(grid, 4, score=score) == 0.4
    assert tuned(grid, 4, score=score) == pytest.approx(
        [-0.4, -0.4, -0.4, np.inf]
    )  # the last seed died at the others' choice


def test_the_best_rate_lies_between_the_grids_points():
    def skewed(arm, run, looks):
        return {"train_loss": 1 + (np.log(run.learning_rate) - np.log(0.23)) ** 2}

    grid = arm_grid(exhibit(skewed), "sweep")
    assert best_rate_by_seed(grid, 16, score=at_end("train_loss")) == pytest.approx([0.23] * 4, rel=1e-6)
    rising = arm_grid(exhibit(lambda arm, run, looks: {"train_loss": run.learning_rate}), "sweep")
    assert np.isnan(best_rate_by_seed(rising, 16, score=at_end("train_loss"))).all()


@pytest.mark.parametrize("lowest", [-0.4, 0.0, 0.3])
def test_vertex_of_a_parabola(lowest):
    x = np.array([-1.0, 0.0, 2.0])
    assert vertex(x, 3 + 2 * (x - lowest) ** 2) == pytest.approx(np.clip(lowest, -0.5, 1.0))
    assert vertex(x, np.zeros(3)) == 0.0


def test_cells_that_lack_a_seed_are_left_out():
    whole = exhibit(valley)
    first = whole.arms["sweep"][0]
    short = Exhibit("full", whole.facts, {"sweep": whole.arms["sweep"][1:]}, whole.evidence)
    assert first.learning_rate not in arm_grid(short, "sweep").tracks[first.batch_size]


def test_the_common_sweep_is_the_same_for_every_claim_and_fits_the_training_set():
    facts = registry()["QA-2"].beds("full")["main"].facts()
    plan = common_sweep(facts, "full")
    assert plan == common_sweep(facts, "full")
    assert max(run.batch_size for run in plan.runs) == facts.train_size == 2000
    assert len({run.seed for run in plan.runs}) == 8
