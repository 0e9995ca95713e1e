"""Zhang et al.: what counts as fitted, what chance allows, and when a linear model's end says something."""

import math
from collections.abc import Callable

import numpy as np

from critbatch.claim import Exhibit, Outcome
from critbatch.claims import registry
from critbatch.judging.worlds import exhibit_from
from critbatch.plan import Run

LABELS, SMALLEST = registry()["ZHA-1"], registry()["ZHA-2"]


def labels(fitted: Callable[[int], float], test: float, *, learning: bool = False) -> Exhibit:
    def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
        if arm != "random":
            return {"train_loss": 0.01, "train_accuracy": 1.0, "test_accuracy": 0.9}
        share = looks / looks[-1]
        way = share if learning else np.minimum(1, 50 * share)
        return {"train_loss": 1.0, "train_accuracy": 0.1 + (fitted(run.seed) - 0.1) * way, "test_accuracy": test}

    return exhibit_from(LABELS, {role: bed.facts() for role, bed in LABELS.beds("full").items()}, "full", values)


def test_only_seeds_that_all_fit_support_and_only_seeds_that_are_all_done_refute():
    cases = [
        (labels(lambda seed: 0.99, 0.1), Outcome.SUPPORTED),
        (labels(lambda seed: 0.9899, 0.1), Outcome.REFUTED),
        (labels(lambda seed: 0.9899 if seed else 1.0, 0.1), Outcome.INCONCLUSIVE),
        (labels(lambda seed: 0.9, 0.1, learning=True), Outcome.INCONCLUSIVE),
    ]
    assert [LABELS.judge(exhibit).outcome for exhibit, _ in cases] == [outcome for _, outcome in cases]


def test_chance_allows_three_standard_deviations_of_both_sets_and_is_asked_of_fitted_networks_alone():
    allowed = 3 * math.sqrt(0.1 * 0.9 / 1000 + 0.1 * 0.9 / 10_000)
    for test, outcome in ((0.1 + 0.99 * allowed, Outcome.SUPPORTED), (0.1 - 1.01 * allowed, Outcome.REFUTED)):
        verdict = LABELS.judge(labels(lambda seed: 1.0, test))
        assert verdict.outcome is outcome
        assert verdict.parts[1].outcome is outcome
    assert LABELS.judge(labels(lambda seed: 0.5, 0.5)).parts[1].outcome is Outcome.INCONCLUSIVE


def linear(away: float, residual: float, start: float = 0.9) -> Exhibit:
    def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
        last = run.seed == 7 and run.batch_size == 16
        return {
            "train_loss": 1.0, "minimum_norm_distance": start if arm != "zero" else away if last else 0.0,
            "relative_residual": residual if last and arm == "zero" else 1e-12,
        }  # fmt: skip

    return exhibit_from(SMALLEST, {role: bed.facts() for role, bed in SMALLEST.beds("full").items()}, "full", values)


def test_one_seed_of_one_batch_size_decides_if_it_fits_the_data():
    cases = [
        ((9e-4, 1e-9), Outcome.SUPPORTED), ((1.1e-3, 1e-9), Outcome.REFUTED), ((1.1e-3, 2e-8), Outcome.INCONCLUSIVE),
    ]  # fmt: skip
    assert [SMALLEST.judge(linear(*numbers)).outcome for numbers, _ in cases] == [outcome for _, outcome in cases]


def test_the_control_is_reported_and_does_not_count():
    verdict = SMALLEST.judge(linear(0.0, 1e-9, start=0.0))
    assert verdict.outcome is Outcome.SUPPORTED
    assert verdict.parts[-1].outcome is Outcome.REFUTED
    assert SMALLEST.judge(linear(0.0, 1e-9)).parts[-1].outcome is Outcome.SUPPORTED


def test_linear_models_have_more_inputs_than_examples_no_bias_and_double_precision():
    for scale in ("smoke", "full"):
        beds = SMALLEST.beds(scale)
        assert all(not bed.bias and bed.train < bed.side**2 and not bed.hidden for bed in beds.values())
        assert (beds["main"].start, beds["usual start"].start) == (0.0, 1.0)
        arms = SMALLEST.arms(scale, {role: bed.facts() for role, bed in beds.items()})
        assert {run.dtype for plan in arms.values() for run in plan.runs} == {"float64"}
        assert {1, beds["main"].train} <= {run.batch_size for run in arms["zero"].runs}
