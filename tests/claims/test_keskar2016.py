"""Keskar et al.: what their runs are, the broken line against a brute-force fit, and what leaves a verdict open."""

import dataclasses
import math

import numpy as np
import polars as pl
import pytest
import torch

from critbatch.budget import Progress
from critbatch.budgets.steps import Steps
from critbatch.claim import Exhibit, Outcome, Verdict
from critbatch.claims import registry
from critbatch.claims.keskar2016_threshold import broken
from critbatch.judging.worlds import exhibit_from, exhibit_in
from critbatch.measurements.solution_line import SolutionLine
from critbatch.optimizers.adam import Adam


def made(name: str, values, scale="full") -> Exhibit:
    claim = registry()[name]
    return exhibit_from(claim, {role: bed.facts() for role, bed in claim.beds(scale).items()}, scale, values)


def judged(name: str, values) -> Verdict:
    return registry()[name].judge(made(name, values))


def plans(name: str, scale="full", **facts):
    claim = registry()[name]
    described = {role: dataclasses.replace(bed.facts(), **facts) for role, bed in claim.beds(scale).items()}
    return {arm: plan.runs for arm, plan in claim.arms(scale, described).items()}


# KES-1


def accuracies(gap: float, trained: float):
    def values(arm, run, looks):
        test = 0.9 - gap * (arm == "large") + 1e-4 * (run.seed % 3)
        return {"test_accuracy": test, "validation_accuracy": test, "train_accuracy": trained, "train_loss": 0.1}

    return values


def test_four_changes_are_tried_each_alone():
    arms = {arm: runs[0] for arm, runs in plans("KES-1").items()}
    assert registry()["KES-1"].beds("full")["ghost"].norm == "ghost-25"
    large = arms["large"]
    assert (arms["ghost"].batch_size, arms["ghost"].budget) == (large.batch_size, large.budget)
    assert arms["updates"].budget == Steps(100 * 2000 // 25)
    assert arms["plain large"].batch_size == 200
    rates = {arm: {run.learning_rate for run in plans("KES-1")[arm]} for arm in ("tuned small", "tuned large")}
    assert rates == {"tuned small": {0.00025, 0.001, 0.004}, "tuned large": {0.00025, 0.001, 0.004}}
    assert {run.optimizer for run in arms.values()} == {Adam()}


def test_a_gap_is_that_of_the_small_batch_over_the_large_one():
    verdict = judged("KES-1", accuracies(0.02, 1.0))
    assert verdict.outcome is Outcome.SUPPORTED
    assert verdict.parts[0].effect.value == pytest.approx(0.02)
    others = {part.name: part.effect.value for part in verdict.parts[2:]}
    assert len(others) == 4
    assert all(value == pytest.approx(0, abs=1e-12) for value in others.values())


def test_regimes_that_do_not_fit_leave_a_gap_open():
    verdict = judged("KES-1", accuracies(0.02, 0.99))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.parts[0].outcome is Outcome.SUPPORTED
    assert verdict.parts[1].effect.value == pytest.approx(0.99)


@pytest.mark.parametrize("gap", [0.0, -0.02])
def test_regimes_that_do_not_fit_leave_the_contrary_open_too(gap):
    assert judged("KES-1", accuracies(gap, 0.9)).outcome is Outcome.INCONCLUSIVE


# KES-2, KES-3, KES-6


def test_sharpness_is_compared_by_the_logarithm_of_the_ratio():
    def values(arm, run, looks):
        rises = {"small": 2.0, "large": 200.0, "matched large": 20.0, "matched small": 2.0}
        names = [f"keskar_sharpness[{space},{width}]" for space in ("full", "random") for width in ("0.001", "0.0005")]
        return dict.fromkeys(names, rises.get(arm, 1.0) * (1 + 0.01 * (run.seed % 2))) | {"train_loss": 0.01}

    verdict = judged("KES-2", values)
    found = {part.name: part.effect.value for part in verdict.parts}
    assert found["sharper in the full space"] == pytest.approx(2)
    assert found["sharper at equal training loss"] == pytest.approx(1)
    assert found["sharper without batch normalisation"] == pytest.approx(0)
    assert "larger Hessian trace" not in found
    assert verdict.outcome is Outcome.SUPPORTED


def test_matched_runs_end_at_a_training_loss():
    arms = plans("KES-2")
    targets = {run.target for arm in ("matched small", "matched large") for run in arms[arm]}
    assert [(one.quantity, one.value, one.direction) for one in targets] == [("train_loss", 0.01, "below")]
    assert {run.target for run in arms["large"]} == {None}


def test_the_other_end_of_the_line_is_trained_like_the_small_regime():
    arms = plans("KES-3")
    (measurement,) = arms["line"][0].measurements
    assert measurement == SolutionLine(batch_size=25, learning_rate=1e-3, epochs=100, optimizer=Adam())
    small = plans("KES-1")["small"][0]
    assert (small.batch_size, small.learning_rate, small.optimizer, small.budget.epochs) == (25, 1e-3, Adam(), 100)
    assert {run.batch_size for run in arms["line"]} == {200}
    assert {run.batch_size for run in arms["control"]} == {25}
    assert {run.measurements for run in arms["control"]} == {(measurement,)}


def test_what_lies_beyond_the_ends_decides():
    def values(arm, run, looks):
        ratio = 10 ** (0.3 + 0.01 * (run.seed % 2)) if arm == "line" else 1.0
        ends = {"line_outward": (ratio, 1.0), "line_width": (1.0, 1.0), "filter_width": (1.0, 10.0)}
        found = {
            f"{name}[{end}]": wide
            for name, two in ends.items()
            for end, wide in zip(("other", "here"), two, strict=True)
        }
        return found | {"train_loss": 0.01}

    verdict = judged("KES-3", values)
    assert [part.effect.value for part in verdict.parts[:3]] == pytest.approx([0.305, 0, -1])
    assert [part.counts for part in verdict.parts] == [True, False, False, False]
    assert verdict.outcome is Outcome.SUPPORTED


def test_distances_are_held_against_the_logarithms_of_the_updates():
    def values(arm, run, looks):
        return {"distance_from_start": (6.0 if arm == "small" else 2.0) * (1 + 1e-3 * run.seed), "train_loss": 0.01}

    found = {part.name: part.effect.value for part in judged("KES-6", values).parts}
    # `most_steps` allows an epoch one step more
    updates = [
        run.budget.most_steps(run.batch_size, 2000) for run in (plans("KES-6")[arm][0] for arm in ("small", "large"))
    ]
    assert updates == [8100, 1100]
    ratio = math.log(8101) / math.log(1101)
    assert found["small batches end further away"] == pytest.approx(math.log10(3))
    assert found["further than the number of updates alone would have it"] == pytest.approx(math.log10(3 / ratio))


# KES-4


def brute_force(logs: np.ndarray, values: np.ndarray) -> tuple[int, float]:
    """Fit every line with a column for each seed's intercept, and return the best break and what it gains in AICc."""
    count = values.size

    def score(columns: list[list[float]], fitted: int) -> float:
        design = np.array(columns).T
        left = values.ravel() - design @ np.linalg.lstsq(design, values.ravel(), rcond=None)[0]
        return count * math.log((left @ left) / count) + 2 * fitted + 2 * fitted * (fitted + 1) / (count - fitted - 1)

    seeds = [[float(row == seed) for row in range(len(values)) for _ in logs] for seed in range(len(values))]
    slope = [float(log) for _ in values for log in logs]
    scores = {
        place: score([*seeds, slope, [max(one - logs[place], 0.0) for one in slope]], len(seeds) + 4)
        for place in range(1, len(logs) - 1)
    }  # intercepts, two slopes, the place of the break, the spread
    best = min(scores, key=scores.__getitem__)
    return best, score([*seeds, slope], len(seeds) + 2) - scores[best]


@pytest.mark.parametrize(("seed", "bend"), [(0, 0.0), (1, 0.0), (2, -0.004), (3, -0.02), (4, 0.01)])
def test_the_broken_line_is_the_best_of_all_with_an_intercept_for_every_seed(seed, bend):
    generator, logs = np.random.default_rng(seed), np.log2([15, 31, 62, 125, 250, 500, 1000])
    values = 0.9 + bend * np.maximum(logs - logs[3], 0) + 0.01 * generator.normal(size=(8, 1))
    values = values + 0.003 * generator.normal(size=(8, 7))
    found, (place, delta) = broken(logs, values), brute_force(logs, values)
    assert found.place == place
    assert found.delta == pytest.approx(delta, abs=1e-6)


def test_a_planted_break_is_found_where_it_is():
    logs = np.arange(4.0, 11.0)
    values = np.arange(3.0)[:, None] + 0.1 * logs - 0.5 * np.maximum(logs - 8, 0)
    found = broken(logs, values + 1e-4 * np.random.default_rng(0).normal(size=values.shape))
    assert found.place == 4
    assert found.delta > 100


@pytest.mark.parametrize("shape", [(8, 2), (1, 7), (0, 7)])
def test_too_few_points_or_seeds_have_no_break(shape):
    assert broken(np.arange(float(shape[1])), np.ones(shape)) is None


def test_numbers_that_are_not_finite_have_no_break():
    assert broken(np.arange(5.0), np.where(np.eye(5) > 0, np.nan, 1.0)) is None


def test_batch_sizes_halve_from_half_of_the_training_set():
    arms = plans("KES-4")
    for arm in ("epochs", "updates"):
        assert sorted({run.batch_size for run in arms[arm]}) == [15, 31, 62, 125, 250, 500, 1000]
    assert {run.budget for run in arms["updates"]} == {Steps(2000)}


def test_what_is_lost_is_read_from_the_break_to_the_largest_batch():
    def values(arm, run, looks):
        log = math.log2(run.batch_size)
        lost = 0.01 * max(log - math.log2(125), 0) + 1e-5 * ((7 * run.seed + run.batch_size) % 5)
        sharp = 10 ** max(log - math.log2(125), 0)
        return {"test_accuracy": 0.9 - lost, "train_loss": 0.01, "keskar_sharpness[full,0.001]": sharp}

    verdict = judged("KES-4", values)
    assert verdict.notes == ("the line breaks at batch size 125", "at equal updates it breaks at batch size 125")
    assert verdict.parts[1].effect.value == pytest.approx(0.03, abs=1e-4)
    assert verdict.parts[2].effect.value == pytest.approx(3)
    assert verdict.outcome is Outcome.SUPPORTED


def test_a_run_that_is_missing_at_equal_updates_does_not_stop_the_judge():
    exhibit = exhibit_in(registry()["KES-4"], "true", 0)
    gone = next(run.id for run in exhibit.arms["updates"] if run.batch_size == 1000)
    tables = (one.filter(pl.col("run") != gone) for one in (exhibit.evidence.runs, exhibit.evidence.records))
    thin = dataclasses.replace(exhibit, evidence=type(exhibit.evidence)(*tables))
    assert registry()["KES-4"].judge(thin).parts[1].outcome is Outcome.SUPPORTED


# KES-5


def rates_taken(run, train_size: int, epochs: int) -> list[tuple[int, int, float]]:
    """Return epoch, batch size and learning rate of every step, as engines set it."""
    found, examples = [], 0
    for epoch in range(epochs):
        drawn = {"order": torch.Generator(), "base": torch.Generator()}
        for batch in run.sampling.epoch(train_size, run.batch_size, number=epoch, **drawn):
            factor = run.schedule.factor(run.budget.used(Progress(0, examples, 0.0, train_size)))
            found.append((epoch, len(batch), run.learning_rate * factor * len(batch) / run.batch_size))
            examples += len(batch)
    return found


def warm_starts(scale="full", **facts):
    arms = plans("KES-5", scale, **facts)
    return {int(arm.split()[0]): runs[0] for arm, runs in arms.items() if not arm.startswith("0")}


def test_a_small_batch_comes_first_and_the_rate_stays_what_it_is():
    for warm, run in warm_starts().items():
        steps = rates_taken(run, 2000, warm + 2)
        assert {size for epoch, size, _ in steps if epoch < warm} == {25}
        assert {size for epoch, size, _ in steps if epoch >= warm} == {200}
        np.testing.assert_allclose([rate for _, _, rate in steps], 1e-3)
        assert run.budget.epochs == warm + 100
    assert list(warm_starts()) == [1, 2, 5, 10, 20, 50]


@pytest.mark.parametrize(("scale", "size"), [("smoke", 1024), ("full", 1999)])
def test_the_rate_stays_what_it_is_where_epochs_leave_examples_over(scale, size):
    for warm, run in warm_starts(scale, train_size=size).items():
        np.testing.assert_allclose([rate for _, _, rate in rates_taken(run, size, warm + 2)], 1e-3)


def test_trends_are_rank_correlations_by_seed():
    order = {0: 0.0, 1: 1.0, 2: 2.0, 5: 3.0, 10: 5.0, 20: 4.0, 50: 6.0}  # two neighbours swapped: 1 - 6 x 2 / (7 x 48)

    def values(arm, run, looks):
        place = order[int(arm.split()[0])]
        return {"test_accuracy": 0.8 + 0.01 * place, "train_loss": 0.01, "keskar_sharpness[full,0.001]": 5.0 + place}

    verdict = judged("KES-5", values)
    expected = [1 - 12 / 336, 0.06, -(1 - 12 / 336)]
    assert [part.effect.value for part in verdict.parts] == pytest.approx(expected)
