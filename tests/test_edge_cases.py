"""Sweeps in which something is missing, fails or makes no sense: an answer with its reason, never a crash."""

import json

import numpy as np
import pytest
import torch

import critbatch as cb
from critbatch.job import make_design
from critbatch.store import Study
from critbatch.study import Workshop, carry_out, expectation
from tests.problems import MODELS, blob_task, blobs, regression_task, small_mlp


def small_linear() -> torch.nn.Module:
    return torch.nn.Linear(4, 3)


def swept(task: cb.Task, folder, **changes) -> cb.Result:
    few = {"batch_sizes": [4, 16, 96], "learning_rates": [0.1, 0.4], "seeds": 2, "budget": cb.Steps(40)} | changes
    return cb.run(task, **few, out=folder, progress=False)


def test_a_batch_size_that_always_fails_leaves_the_others_readable(tmp_path):
    task = blob_task(MODELS["batch_norm"])  # one example has no batch statistics
    result = swept(task, tmp_path, batch_sizes=[1, 8, 96], learning_rates=[])
    finding = result.finding
    assert finding.batch_sizes[0].runs == 7 * 2  # its bracket is not extended
    assert finding.endings["FAILED"] == 14 + 3
    updates = finding.budgets["updates"][-1]
    assert updates.amount == 40
    assert [row.test_metric.value is not None for row in updates.rows] == [False, True, True]
    assert finding.warnings[0].startswith("17 runs FAILED; the first said: ValueError: Expected more than 1 value")


def test_when_everything_diverges_there_is_no_winner_and_the_reason_says_so(tmp_path):
    task = regression_task()
    for target in (task.target, None):
        task.target = target
        result = swept(task, tmp_path / str(bool(target)), learning_rates=[1e3, 1e4], budget=cb.Steps(300))
        assert result.finding.endings["DIVERGED"] == 12
        assert "(12 diverged, 0 ran out of memory, 0 failed)" in result.finding.recommendation_reason
        assert all(reading.winner.batch_size is None for one in result.finding.budgets.values() for reading in one)
        assert all(row.censored == 0 for row in result.finding.batch_sizes)
        assert (tmp_path / str(bool(target)) / "result.json").exists()


def test_an_infinite_test_loss_is_missing_and_not_a_crash(tmp_path):
    inputs, targets = blobs(50, 1)
    inputs[-1] = 3e38
    task = cb.Task(
        name="extreme", model=small_linear, train=blobs(96, 0), test=(inputs, targets), validation=blobs(50, 2)
    )
    result = swept(task, tmp_path)
    gap = result.finding.batch_sizes[0].generalization_gap
    assert gap.value is None
    assert "2 of 2 runs have a value that is not finite" in gap.reason


def test_a_target_that_holds_at_the_start_is_called_too_easy(tmp_path):
    result = swept(blob_task(), tmp_path, target=cb.Target("validation_accuracy", 0.01))
    assert result.recommendation is None
    assert "set a harder --target" in result.finding.recommendation_reason


def test_one_batch_size_one_learning_rate_one_seed(tmp_path):
    result = swept(blob_task(), tmp_path, batch_sizes=[8], learning_rates=[0.4], seeds=1, budget=cb.Steps(300))
    assert result.recommendation is None
    assert "only one batch size was tried" in result.finding.recommendation_reason
    row = result.finding.batch_sizes[0]
    assert row.steps_to_target.value > 0
    assert row.steps_to_target.low is None
    json.dumps(result.to_json(), allow_nan=False)


def test_numpy_numbers_are_numbers(tmp_path):
    result = swept(
        blob_task(), tmp_path, batch_sizes=4 ** np.arange(1, 3), learning_rates=np.array([0.1], dtype=np.float32)
    )
    assert [row.batch_size for row in result.finding.batch_sizes] == [4, 16]


def test_a_rate_that_reaches_the_target_and_then_diverges_is_not_chosen():
    from critbatch.analysis.assemble import choices
    from critbatch.plan import RunResult
    from critbatch.record import Ending
    from tests.made_up_sweeps import World, facts

    world = World(batch_sizes=(16,))
    results = [world._run(16, power, seed, 0.0) for power in (-1, 0, 1) for seed in range(3)]
    died = [
        RunResult(one.run, Ending.DIVERGED, one.steps, one.examples, one.seconds, one.records)
        if one.run.learning_rate == world.best_rate(16) and one.run.seed
        else one
        for one in results
    ]
    with cb.Memory() as store:
        store.add(died)
        chosen = choices(store.evidence([one.run.id for one in died]), facts())[1]
    assert chosen[16].best_rate != world.best_rate(16)


def test_results_of_another_device_are_not_mixed_in():
    task = blob_task()
    design = make_design(task, batch_sizes=[8], learning_rates=[0.1], seeds=1, budget=cb.Steps(2))
    with cb.Memory() as store:
        facts = {"revision": task.revision}
        store.put_study(
            Study(task.name, (), {"facts": facts, "device": "cuda:0 (some GPU)", "versions": {}, "plan": {}})
        )
        with pytest.raises(ValueError, match=r"from cuda:0 .some GPU.; this is cpu"):
            carry_out(task, design, Workshop(store, cb.Serial()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float16"}, "use one of float32, float64"),
        ({"device": "cuda:77"}, "not to be used here"),
        ({"device": "warp"}, "not to be used here"),
        ({"batch_sizes": [97]}, "does not fit the 96 training examples"),
        ({"seeds": 0}, "needs a batch size and a seed"),
    ],
)
def test_what_cannot_be_carried_out_is_refused_before_anything_is_written(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        swept(blob_task(small_mlp), tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("budget", [cb.Seconds(0.5), cb.Longest((cb.Epochs(1), cb.Seconds(0.5)))])
def test_the_expected_time_of_a_budget_of_seconds_is_finite(budget):
    task = blob_task()
    design = make_design(task, batch_sizes=[8, 96], learning_rates=[0.1], seeds=2, budget=budget)
    document = expectation(task, design, "cpu", 1, "auto")
    assert document["runs"] == 2 * 2 + 2 + 2 * 2
    assert 0.5 * 4 < document["seconds"] < 60
