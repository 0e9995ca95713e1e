"""`critbatch noise` and `critbatch.measure_noise`: against a closed form, and as a user meets them."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import critbatch as cb
from critbatch.cli import app
from critbatch.noise_study import default_batch_size
from critbatch.objective import squared_error
from critbatch.worlds.regression import GaussianRegression
from tests import user_tasks
from tests.problems import blob_task, norm_mlp, zero_linear

FAST = ["--steps", "30", "--epochs", "1", "--seeds", "3", "--executor", "serial", "--no-progress"]
DIMENSION, BATCH, RATE, STEPS = 4, 8, 0.1, 32


def draw(generator: torch.Generator, count: int, label_noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(count, DIMENSION, generator=generator, dtype=torch.float64)
    noise = torch.randn(count, 1, generator=generator, dtype=torch.float64)
    return inputs, inputs.sum(1, keepdim=True) + label_noise * noise


def isotropic(label_noise: float) -> cb.Task:
    """Return isotropic regression on fresh examples: G = e and tr(Sigma) = (d + 1)|e|^2 + d s^2 at every error e."""
    return cb.Task(
        name="isotropic", model=partial(zero_linear, DIMENSION), train=cb.Stream(partial(draw, label_noise=label_noise), 1024),
        test=draw(torch.Generator().manual_seed(1), 64, label_noise), loss="squared_error",
        metric=cb.Metric("squared_error", squared_error, "below"),
    )  # fmt: skip


def measured(label_noise: float, folder: Path, seeds: int = 12):
    return cb.measure_noise(
        isotropic(label_noise), batch_size=BATCH, learning_rate=RATE, seeds=seeds, budget=cb.Steps(STEPS),
        dtype="float64", out=folder, progress=False,
    )  # fmt: skip


def exact(label_noise: float, steps: np.ndarray) -> np.ndarray:
    """Return E[tr(Sigma)]/E[|G|^2] after these steps, from the exact recursion of E|e|^2."""
    world = GaussianRegression(spectrum=(1.0,) * DIMENSION, label_noise=label_noise)
    errors = 2 * world.expected_losses(BATCH, np.array([RATE]), STEPS)[0]
    return DIMENSION + 1 + label_noise**2 * DIMENSION / errors[steps.astype(int)]


def mean_over_steps(steps: np.ndarray, values: np.ndarray) -> float:
    return float(np.trapezoid(values, steps) / (steps[-1] - steps[0]))


def test_isotropic_regression_has_noise_scale_d_plus_one_all_along(tmp_path):
    """T4. The averages' intervals are narrow enough that a bias of 2 % would be seen; 1 in 20 looks may miss the truth."""
    found = measured(0.0, tmp_path)
    truth = DIMENSION + 1
    for average in (found.whole, found.last_half):
        scale = average.noise_scale
        assert scale.low <= truth <= scale.high
        assert scale.high - scale.low <= 2 * 0.02 * truth
    held = [one.noise_scale.low <= truth <= one.noise_scale.high for one in found.looks]
    assert len(held) >= 10
    assert sum(held) >= len(held) - 2
    assert found.looks[0].squared_norm.value == pytest.approx(DIMENSION, rel=0.05)
    assert found.suggestion.startswith("up to a batch size of about ")


def test_label_noise_makes_it_grow_as_the_exact_recursion_says(tmp_path):
    found = measured(0.5, tmp_path)
    steps = np.array([one.step for one in found.looks])
    truth = exact(0.5, steps)
    whole = found.whole.noise_scale
    assert whole.low <= mean_over_steps(steps, truth) <= whole.high
    assert whole.low > DIMENSION + 1  # what would be true without label noise is excluded
    held = [one.noise_scale.low <= true <= one.noise_scale.high for one, true in zip(found.looks, truth, strict=True)]
    assert sum(held) >= len(held) - 2
    assert found.last_half.noise_scale.value > whole.value


def critbatch(*arguments: str | Path):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_the_screen_shows_every_look_the_averages_and_the_warning(tmp_path):
    result = critbatch("noise", f"{user_tasks.write(tmp_path)}:task", *FAST, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for words in (
        "tr(Sigma)",
        "|G|^2",
        "noise",
        "training",
        "averaged over steps",
        "the whole training",
        "its last half",
    ):
        assert words in result.stdout
    plain = " ".join(result.stdout.split())
    assert "nearly halves the steps" in plain
    assert "screening dial" in plain
    assert "2505.23971" in plain
    assert "critbatch run TASK" in plain
    assert "a factor of 4 apart from" in plain


ESTIMATE = {"value", "low", "high", "level", "count", "unit", "method", "definition"}


def test_json_is_one_document_with_a_schema_and_the_same_as_the_file(tmp_path):
    result = critbatch("noise", f"{user_tasks.write(tmp_path)}:made", *FAST, "--out", tmp_path, "--json")
    document = json.loads(result.stdout)
    assert document == json.loads((tmp_path / "noise.json").read_text())
    assert list(document) == sorted(document)
    assert set(document) == {
        "schema_version", "task", "device", "versions", "plan", "batch_size", "learning_rate", "learning_rate_origin",
        "objective", "seconds", "endings", "looks", "whole", "last_half", "to_target", "suggestion", "reason", "caution",
        "warnings",
    }  # fmt: skip
    assert document["schema_version"] == 1
    assert document["batch_size"] == 8  # of 64 examples
    assert document["looks"][0]["step"] == 0
    for look in document["looks"]:
        assert set(look) == {"step", "examples", "train_loss", "covariance_trace", "squared_norm", "noise_scale"}
        for name in ("train_loss", "covariance_trace", "squared_norm", "noise_scale"):
            assert set(look[name]) - {"reason"} == ESTIMATE
            assert look[name]["value"] is not None or look[name]["reason"]
    for name in ("whole", "last_half"):
        assert set(document[name]) == {"first_step", "last_step", "noise_scale"}
    assert document["plan"]["measurement"]["kind"] == "NoiseMoments"


def test_measuring_again_trains_nothing_and_more_seeds_train_only_those(tmp_path):
    task = f"{user_tasks.write(tmp_path)}:task"
    loud = [one for one in FAST if one != "--no-progress"]
    first = critbatch("noise", task, *loud, "--out", tmp_path / "out")
    assert "noise: 3 runs" in first.stderr
    again = critbatch("noise", task, *loud, "--out", tmp_path / "out")
    assert again.stderr == ""
    assert again.stdout == first.stdout
    more = critbatch(
        "noise", task, *[one.replace("3", "5") if one == "3" else one for one in loud], "--out", tmp_path / "out"
    )
    assert "noise: 2 runs" in more.stderr


def test_a_sweep_in_the_same_folder_stays_what_it_was(tmp_path):
    task = blob_task()
    few = {"budget": cb.Steps(10), "out": tmp_path, "progress": False}
    swept = cb.run(task, batch_sizes=[8, 96], learning_rates=[0.1, 0.4], seeds=2, **few).to_json()
    cb.measure_noise(task, learning_rate=0.1, **few)
    assert cb.reread(str(tmp_path / "runs.db")).to_json() == swept
    assert json.loads((tmp_path / "result.json").read_text()) == json.loads(json.dumps(swept))
    with pytest.raises(ValueError, match="holds no study"):
        cb.reread(str(tmp_path / "runs.db"), "blobs (noise)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuch"], "No task is called 'nosuch'. There are: "),
        (["TASK:task", "--batch-size", "65"], "batch size 65 does not fit the 64 training examples"),
        (["TASK:task", "--learning-rate", "-1"], "must be above 0 and finite"),
        (["TASK:task", "--optimizer", "adam", "--momentum", "0.9"], "has none. Use --optimizer sgd"),
        (["TASK:task", "--engine", "steam"], "unknown. Use one of"),
        (["TASK:task", "--device", "warp"], "warp"),
        (["TASK:task", "--dtype", "float99"], "float99"),
        (["TASK:task", "--steps", "0"], "must be at least 1"),
        (["TASK:coupled", "--measured-examples", "40"], "40 can be measured, but 64 are needed for two groups of 32"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    coupled = user_tasks.GOOD.replace("torch.nn.Tanh()", "torch.nn.BatchNorm1d(8)") + "\n    coupled = task\n"
    path = user_tasks.write(tmp_path, coupled if "coupled" in arguments[0] else user_tasks.GOOD)
    result = critbatch("noise", *[one.replace("TASK", str(path)) for one in arguments])
    assert result.stdout == ""
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.exit_code == 2
    assert sorted(one.name for one in tmp_path.iterdir() if one.name != "__pycache__") == ["mine.py"]


def test_one_seed_is_refused(tmp_path):
    assert critbatch("noise", "digits", "--seeds", "1").exit_code == 2
    with pytest.raises(ValueError, match="an interval over seeds needs at least 2"):
        cb.measure_noise(blob_task(), seeds=1, out=tmp_path)


def test_batch_norm_is_said_to_be_another_objective(tmp_path):
    found = cb.measure_noise(blob_task(norm_mlp), learning_rate=0.2, budget=cb.Steps(10), out=tmp_path, progress=False)
    assert "ghost-batch objective at groups of 32" in found.objective
    assert found.looks
    plain = cb.measure_noise(blob_task(), learning_rate=0.2, budget=cb.Steps(10), out=tmp_path / "2", progress=False)
    assert "single examples" in plain.objective


def test_runs_that_diverge_leave_nothing_to_say_and_exit_three(tmp_path):
    text = user_tasks.GOOD.replace("torch.nn.Tanh()", "torch.nn.Identity()").replace(
        'name="mine"', 'name="mine", loss="squared_error", metric=None'
    ).replace("torch.nn.Linear(8, 3)", "torch.nn.Linear(8, 1)").replace(", labels\n", ", labels.float()\n").replace(
        'Target("validation_accuracy", 0.7)', 'Target("validation_loss", 0.2)'
    )  # fmt: skip
    task = f"{user_tasks.write(tmp_path, text)}:task"
    result = critbatch("noise", task, "--learning-rate", "1e6", *FAST, "--out", tmp_path / "out")
    assert result.exit_code == 3, result.output
    plain = " ".join(result.stdout.split())
    assert "Nothing can be said" in plain
    assert "DIVERGED (3)" in plain
    assert "lower learning rate" in plain


def test_runs_that_fail_are_said_first_and_exit_one(tmp_path):
    text = user_tasks.GOOD.replace("def model():", (
        "class Broken(torch.nn.Linear):\n        def forward(self, x):\n"
        "            if self.training: raise RuntimeError('it broke')\n            return super().forward(x)\n\n    def model():"
    )).replace("return torch.nn.Sequential", "return Broken(4, 3) if True else torch.nn.Sequential")  # fmt: skip
    result = critbatch("noise", f"{user_tasks.write(tmp_path, text)}:task", *FAST, "--out", tmp_path / "out")
    assert result.exit_code == 1, result.output
    assert "FAILED" in result.stdout.splitlines()[0]
    assert "it broke" in result.stdout
    assert "Nothing can be said" in result.stdout


def test_what_the_numbers_leave_out_is_said(tmp_path):
    task = blob_task(l2=0.01, target=None)
    found = cb.measure_noise(
        task, learning_rate=0.05, budget=cb.Steps(10), optimizer=cb.Adam(), out=tmp_path, progress=False
    )
    said = " ".join(found.warnings)
    for words in ("belongs to plain SGD; Adam", "L2 penalty of 0.01", "the task has no target", "only 3 seeds"):
        assert words in said
    assert found.learning_rate_origin == "given"
    assert found.to_target is None


def test_the_default_batch_size_is_about_the_root_of_the_training_set():
    assert [default_batch_size(size) for size in (1, 2, 64, 1024, 60_000)] == [1, 1, 8, 32, 256]
