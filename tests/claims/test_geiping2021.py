"""Geiping et al.: seeds that tune do not judge, the best recipe is judged, and the parts' arithmetic."""

import numpy as np
import pytest

from critbatch.claim import Exhibit, Outcome
from critbatch.claims import registry
from critbatch.judging.worlds import exhibit_from
from critbatch.plan import Run

MATCHES, NOT_NECESSARY = registry()["GEI-1"], registry()["GEI-2"]
FACTS = {"main": MATCHES.beds("full")["main"].facts()}
LEVELS = {"SGD": 0.9, "longer": 0.885, "clip": 0.89, "penalty 0.1": 0.9, "penalty 0.3": 0.902}


def made_up(claim, levels: dict[str, float], *, early: float = 0.8) -> Exhibit:
    """Return evidence of given accuracies at the best rate, 1/2; a full batch reads `early` until 200 updates."""

    def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
        strength = getattr(run.optimizer, "strength", None)
        kind = f"penalty {strength:g}" if strength else next(one for one in levels if one in arm)
        end = levels[kind] - 0.01 * np.log2(run.learning_rate / 0.5) ** 2 + 0.001 * np.sin(run.seed)
        found = np.where(looks > 200, end, early) if kind == "longer" else np.full(len(looks), end)
        return {"train_loss": 1.0, "train_accuracy": 1.0, "validation_accuracy": found, "test_accuracy": found}

    return exhibit_from(claim, FACTS, "full", values)


@pytest.mark.parametrize("claim", [MATCHES, NOT_NECESSARY])
def test_rates_are_tuned_with_other_seeds_and_the_stronger_penalty_is_judged_where_it_validates_better(claim):
    exhibit = made_up(claim, LEVELS)
    tried = {run.seed for arm, plan in exhibit.arms.items() if "tune" in arm for run in plan}
    judged = exhibit.arms["penalty"]
    assert {(run.optimizer.strength, run.learning_rate) for run in judged} == {(0.3, 0.5)}
    assert {run.seed for run in judged} == {run.seed for run in exhibit.arms["SGD"]}
    assert tried.isdisjoint(run.seed for run in judged)


def test_blocks_are_a_part_of_the_whole_set_and_every_update_reads_it_twice():
    for scale in ("smoke", "full"):
        facts = {"main": MATCHES.beds(scale)["main"].facts()}
        size = facts["main"].train_size
        for arm, plan in MATCHES.arms(scale, facts).items():
            for run in plan.runs if "penalty" in arm else ():
                assert run.batch_size * run.optimizer.blocks == size
                assert run.budget.most_steps(run.batch_size, size) % (2 * run.optimizer.blocks) == 0


@pytest.mark.parametrize(
    ("changes", "outcome", "stochasticity"),
    [
        ({}, Outcome.SUPPORTED, Outcome.EQUIVALENT),
        ({"penalty 0.3": 0.88, "penalty 0.1": 0.88}, Outcome.REFUTED, Outcome.REFUTED),
        ({"longer": 0.79}, Outcome.REFUTED, Outcome.EQUIVALENT),
    ],
)
def test_the_gap_what_time_does_and_the_match_decide(changes, outcome, stochasticity):
    verdict = MATCHES.judge(made_up(MATCHES, LEVELS | changes))
    assert verdict.outcome is outcome
    assert verdict.parts[0].effect.value == pytest.approx(0.1, abs=0.012)  # 0.9 less what 40 updates reach
    levels = LEVELS | changes
    assert verdict.parts[1].effect.value == pytest.approx(levels["longer"] - 0.8, abs=0.012)
    best = max(levels["penalty 0.1"], levels["penalty 0.3"])
    assert verdict.parts[2].effect.value == pytest.approx(best - levels["SGD"], abs=1e-9)
    assert NOT_NECESSARY.judge(made_up(NOT_NECESSARY, levels)).outcome is stochasticity
