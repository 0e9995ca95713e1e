"""The command line as a user meets it: answers, exit codes, one-line errors, and results that stay what they were."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from critbatch import plan
from critbatch.cli import app
from critbatch.optimizers.lamb import LAMB
from critbatch.optimizers.lars import LARS
from critbatch.optimizers.proximal import Proximal
from critbatch.samplings.repeated import Repeated
from critbatch.samplings.reshuffle import Reshuffle
from critbatch.stores.sql import Sql
from tests import user_tasks
from tests.requirements import require_reference

SMALL = ["--batch-sizes", "1,8,64", "--learning-rates", "0.1,0.4,1.6", "--seeds", "2", "--epochs", "3", "--steps", "60"]
QUIET = ["--executor", "serial", "--no-progress"]


def critbatch(*arguments: str | Path):
    """Return the result of a command run in this process."""
    return CliRunner().invoke(app, [str(one) for one in arguments])


def only_line(result) -> str:
    """Return the one line that a refused command printed."""
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]


@pytest.fixture(scope="module")
def swept_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a user's task and, in `out`, a finished small sweep on it."""
    place = tmp_path_factory.mktemp("swept")
    result = critbatch("run", f"{user_tasks.write(place)}:task", *SMALL, *QUIET, "--out", place / "out")
    assert result.exit_code in (0, 3), result.output
    return place


@pytest.fixture
def swept(swept_once: Path, tmp_path: Path) -> Path:
    """Return the folder of a finished small sweep, of which a test may do what it likes; the task lies beside it."""
    shutil.copytree(swept_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out"


def tables(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    with Sql(folder / "runs.db", read_only=True) as store:
        evidence = store.evidence(store.studies()[0].run_ids)
    return evidence.runs.drop("seconds"), evidence.records.drop("seconds")


def test_a_user_task_is_swept_and_everything_is_written(swept):
    document = json.loads((swept / "result.json").read_text())
    assert document["task"]["name"] == "mine"
    assert document["endings"] == {"TARGET": 0, "BUDGET": 26, "DIVERGED": 0, "INFEASIBLE": 0, "FAILED": 0}
    assert [row["batch_size"] for row in document["batch_sizes"]] == [1, 8, 64]
    assert document["noise_scale"]
    page = (swept / "report.html").read_text()
    assert "mine" in page
    assert "<svg" in page


def test_json_is_one_document_and_the_same_as_the_file(tmp_path):
    result = critbatch("run", f"{user_tasks.write(tmp_path)}:made", *SMALL, *QUIET, "--out", tmp_path, "--json")
    assert json.loads(result.stdout) == json.loads((tmp_path / "result.json").read_text())


def test_the_screen_answers(tmp_path):
    result = critbatch("run", f"{user_tasks.write(tmp_path)}:task", *SMALL, *QUIET, "--out", tmp_path)
    assert "Which batch size wins" in result.stdout
    assert "Critical batch size" in result.stdout
    assert "recommend" in result.stdout.lower()
    assert f"Report: {tmp_path / 'report.html'}" in result.stdout


def test_running_again_trains_nothing_and_says_the_same(swept, tmp_path):
    before = (swept / "result.json").read_text()
    again = critbatch("run", f"{tmp_path / 'mine.py'}:task", *SMALL, "--executor", "serial", "--out", swept)
    assert "runs\n" not in again.stderr  # no stage had anything to train
    after = json.loads((swept / "result.json").read_text())
    assert after | {"plan": 0} == json.loads(before) | {"plan": 0}


def test_changing_the_task_trains_again(swept, tmp_path):
    user_tasks.write(tmp_path, user_tasks.GOOD.replace("Tanh", "ReLU"))
    again = critbatch("run", f"{tmp_path / 'mine.py'}:task", *SMALL, "--executor", "serial", "--out", swept)
    assert "grid: 18 runs" in again.stderr


def test_a_stored_study_is_read_again(swept):
    before = json.loads((swept / "result.json").read_text())
    (swept / "report.html").unlink()
    for place in (swept, swept / "runs.db"):
        result = critbatch("report", place, "--json")
        assert json.loads(result.stdout) == before
    assert (swept / "report.html").exists()
    critbatch("report", f"sqlite:///{swept / 'runs.db'}", "--out", swept / "new" / "folder")
    assert (swept / "new" / "folder" / "report.html").exists()


def test_the_executors_give_the_same_tables(swept, tmp_path):
    arguments = ["run", f"{tmp_path / 'mine.py'}:task", *SMALL, "--out", tmp_path / "two", "--workers", "2", "-q"]
    result = critbatch(*arguments)
    assert result.exit_code in (0, 3), result.output
    for one, two in zip(tables(swept), tables(tmp_path / "two"), strict=True):
        keys = [name for name in ("run", "step", "quantity") if name in one.columns]
        assert one.sort(keys).equals(two.sort(keys))


def test_a_dry_run_counts_and_trains_nothing(tmp_path):
    result = critbatch(
        "run", f"{user_tasks.write(tmp_path)}:task", *SMALL, "--dry-run", "--json", "--out", tmp_path / "no"
    )
    document = json.loads(result.stdout)
    assert document["runs"] == 3 * 3 * 2 + 2 + 3 * 2  # the grid, the noise cell, fresh seeds
    assert document["seconds"] > 0
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nosuch"], "No task is called 'nosuch'. There are: "),
        (["run", "nosuch.py:task"], "there is no file"),
        (["run", "TASK:nothing"], "has no 'nothing'. It has: "),
        (["run", "TASK:number"], "is of type int. Give a Task"),
        (["run", "TASK:raises"], "could not be made: ZeroDivisionError"),
        (["run", "nowhere_at_all:task"], "importing 'nowhere_at_all' raised ModuleNotFoundError"),
        (["run", "TASK:task", "--batch-sizes", "65"], "batch size 65 does not fit the 64 training examples"),
        (["run", "TASK:task", "--batch-sizes", "a,b"], "Write numbers as 1,4,16 or a range"),
        (["run", "TASK:task", "--batch-sizes", "8:1:x2"], "does not rise"),
        (["run", "TASK:task", "--learning-rates", "-1"], "must be above 0"),
        (["run", "TASK:task", "--target", "fun=1"], "records no such quantity. Use one of"),
        (["run", "TASK:task", "--target", "high"], "is no number"),
        (["run", "TASK:task", "--optimizer", "sgdd"], "No optimizer is called 'sgdd'. There are: adam"),
        (["run", "TASK:task", "--optimizer", "adam", "--momentum", "0.9"], "has none. Use --optimizer sgd"),
        (
            ["run", "TASK:task", "--optimizer", "emso", "--sampling", "partition"],
            "3 times in a row. Leave --sampling out",
        ),
        (["run", "TASK:task", "--optimizer", "emso", "--weight-decay", "0.1"], "optimizer 'emso' has none"),
        (["run", "TASK:task", "--inner-steps", "4"], "optimizer 'sgd' has none. Use --optimizer emso"),
        (["run", "TASK:task", "--optimizer", "adam", "--strength", "0"], "has none. Use --optimizer emso"),
        (["run", "TASK:task", "--optimizer", "emso", "--strength", "-1"], "strength at least 0"),
        (["noise", "TASK:task", "--optimizer", "proximal"], "takes 3 steps on a batch, as only `critbatch run` can"),
        (["run", "TASK:task", "--momentum", "1.5"], "momentum must be in"),
        (["run", "TASK:task", "--last-batch", "keep"], "use one of drop, weight"),
        (["run", "TASK:task", "--dtype", "float99"], "float99"),
        (["run", "TASK:task", "--device", "warp"], "warp"),
        (["run", "TASK:task", "--epochs", "0"], "must be above 0"),
        (["report", "nowhere.db"], "nowhere.db"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = user_tasks.write(tmp_path)
    result = critbatch(*[one.replace("TASK", str(path)) for one in arguments])
    assert message in only_line(result)
    assert result.exit_code == 2
    assert sorted(one.name for one in tmp_path.iterdir() if one.name != "__pycache__") == ["mine.py"]


LARGE = {
    "emso": (["--inner-steps", "2", "--strength", "0.5"], Proximal(2, 0.5), Repeated(2)),
    "lars": (["--momentum", "0.5", "--weight-decay", "0.01"], LARS(momentum=0.5, weight_decay=0.01), Reshuffle()),
    "lamb": (["--weight-decay", "0.01", "--clip-norm", "2"], LAMB(weight_decay=0.01, clip_norm=2.0), Reshuffle()),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_batch_optimizer_is_swept_with_what_it_was_given(name, tmp_path):
    options, rule, sampling = LARGE[name]
    require_reference(rule)
    task = f"{user_tasks.write(tmp_path)}:task"
    few = ["--batch-sizes", "8,64", "--learning-rates", "0.01,0.1", "--seeds", "2", "--steps", "24", "--no-confirm"]
    result = critbatch("run", task, "--optimizer", name, *options, *few, *QUIET, "--out", tmp_path / "out")
    assert result.exit_code in (0, 3), result.output
    with Sql(tmp_path / "out" / "runs.db", read_only=True) as store:
        runs = store.evidence(store.studies()[0].run_ids).runs
    assert set(runs["ending"]) == {"BUDGET"}
    assert [json.loads(one) for one in runs["optimizer"].unique()] == [plan.describe(rule)]
    assert [json.loads(one) for one in runs["sampling"].unique()] == [plan.describe(sampling)]
    assert set(runs["steps"]) == {24}  # an inner step is a step of the budget


@pytest.mark.parametrize("kind", user_tasks.WRONG)
def test_a_task_file_that_cannot_be_imported_says_why(kind, tmp_path):
    text, message = user_tasks.WRONG[kind]
    result = critbatch("run", f"{user_tasks.write(tmp_path, text)}:task")
    assert message in only_line(result)
    assert result.exit_code == 2


def test_a_corrupt_store_is_refused_and_left_alone(swept, tmp_path):
    store = swept / "runs.db"
    store.write_bytes(b"this is no database" * 100)
    for command in (["run", f"{tmp_path / 'mine.py'}:task", *SMALL, *QUIET, "--out", swept], ["report", swept]):
        result = critbatch(*command)
        assert str(store) in only_line(result)
        assert result.exit_code == 2
    assert store.read_bytes() == b"this is no database" * 100


def test_an_unwritable_folder_is_refused(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    result = critbatch("run", f"{user_tasks.write(tmp_path)}:task", *SMALL, *QUIET, "--out", blocked / "out")
    assert str(blocked) in only_line(result)
    assert result.exit_code == 2


def test_runs_that_fail_are_said_first_and_exit_one(tmp_path):
    text = user_tasks.GOOD.replace(
        "return torch.nn.Sequential", "return Broken(4, 3) if True else torch.nn.Sequential"
    ).replace(
        "def model():",
        "class Broken(torch.nn.Linear):\n        def forward(self, x):\n"
        "            if self.training: raise RuntimeError('it broke')\n            return super().forward(x)\n\n    def model():",
    )
    result = critbatch("run", f"{user_tasks.write(tmp_path, text)}:task", *SMALL, *QUIET, "--out", tmp_path / "out")
    assert result.exit_code == 1, result.output
    assert "FAILED" in result.stdout.splitlines()[0]
    assert "it broke" in result.stdout


def test_a_weak_sweep_has_no_answer_and_exits_three(tmp_path):
    task = f"{user_tasks.write(tmp_path)}:task"
    result = critbatch("run", task, *SMALL, *QUIET, "--target", "0.9999", "--out", tmp_path / "out")
    assert result.exit_code == 3, result.output
    assert "No recommendation" in result.stdout


def test_usage_errors_exit_two():
    assert critbatch("run").exit_code == 2
    assert critbatch("nonsense").exit_code == 2
    assert critbatch("run", "digits", "--seeds", "0").exit_code == 2


@pytest.mark.parametrize("kind", ["tasks", "measurements"])
def test_listings_name_everything(kind):
    from critbatch import catalog

    document = json.loads(critbatch(kind, "--json").stdout)
    assert [one["name"] for one in document[kind]] == catalog.names(kind)
    assert all(one["summary"] for one in document[kind])
    assert all(one["name"] in critbatch(kind).stdout for one in document[kind])


def test_the_doctor_checks_this_machine():
    result = critbatch("doctor", "--json")
    assert result.exit_code == 0
    assert {"versions", "device", "folder", "sqlite", "data"} <= {
        one["name"] for one in json.loads(result.stdout)["checks"]
    }


def test_control_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path):
    path = user_tasks.write(tmp_path)
    command = [sys.executable, "-m", "critbatch", "run", f"{path}:task", "--batch-sizes", "1", "--seeds", "3"]
    command += ["--learning-rates", "0.1,0.2,0.3", "--steps", "1000", "--workers", "2"]
    command += ["--engine", "sequential"]  # one run after another: when the first is kept, most are still to come
    command += ["--out", str(tmp_path / "out")]
    environment = os.environ | {"COLUMNS": "200"}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()  # the first stage has begun
        while not stored(tmp_path / "out" / "runs.db"):
            assert process.poll() is None, process.stderr.read()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Go on with:" in errors
    assert f"run {path}:task" in errors
    assert "Traceback" not in errors
    again = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert again.returncode in (0, 3), again.stderr
    whole = subprocess.run(
        [*command[:-1], str(tmp_path / "whole")],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert whole.returncode in (0, 3)
    for one, two in zip(tables(tmp_path / "out"), tables(tmp_path / "whole"), strict=True):
        assert one.equals(two)


def stored(path: Path) -> int:
    """Return how many runs a store that may not be there yet holds."""
    if not path.exists():
        return 0
    try:
        with Sql(path, read_only=True) as store:
            return len(store.finished(store.studies()[0].run_ids)) if store.studies() else 0
    except (ValueError, OSError):
        return 0
