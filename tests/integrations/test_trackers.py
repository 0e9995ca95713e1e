"""Trackers: what is written is read back by the tool itself."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest

from . import raw

pytestmark = pytest.mark.filterwarnings("ignore")
WRITTEN = {1: {"noise/trace": 2.5, "noise/scale": 40.0}, 11: {"noise/trace": 1.25}}


def write(tracker: Any) -> None:
    for step, values in WRITTEN.items():
        tracker.write(step, values)
    tracker.close()


def test_json_lines_are_added(tmp_path: Path) -> None:
    from critbatch.trackers.jsonl import Jsonl

    place = tmp_path / "deep" / "noise.jsonl"
    for _ in range(2):
        write(Jsonl(place))
    assert [json.loads(line) for line in place.read_text().splitlines()] == 2 * [
        {"step": step, **values} for step, values in WRITTEN.items()
    ]


def test_json_knows_no_infinity(tmp_path: Path) -> None:
    from critbatch.trackers.jsonl import Jsonl

    tracker = Jsonl(tmp_path / "noise.jsonl")
    tracker.write(0, {"noise/scale_high": float("inf")})
    tracker.close()
    assert json.loads((tmp_path / "noise.jsonl").read_text()) == {"step": 0, "noise/scale_high": None}


def test_tensorboard(tmp_path: Path) -> None:
    raw.needs("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from critbatch.trackers.tensorboard import Tensorboard

    write(Tensorboard(tmp_path))
    read = EventAccumulator(str(tmp_path)).Reload()
    assert [(one.step, one.value) for one in read.Scalars("noise/trace")] == [(1, 2.5), (11, 1.25)]
    assert [(one.step, one.value) for one in read.Scalars("noise/scale")] == [(1, 40.0)]


@pytest.mark.parametrize("is_given", [False, True])
def test_wandb(is_given: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw.needs("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    import wandb

    from critbatch.logs.wandb import read
    from critbatch.trackers.wandb import Wandb

    run = wandb.init(dir=str(tmp_path), project="noise") if is_given else None
    write(Wandb(run) if is_given else Wandb(dir=str(tmp_path), project="noise"))
    if run is not None:
        run.log({"loss": 1.0})  # still open
        run.finish()
    until = time.monotonic() + 30
    while True:  # a service of its own writes the file, at its own pace
        (kept,) = read(next(tmp_path.rglob("run-*.wandb")))
        if "noise/step" in kept.series or time.monotonic() > until:
            break
        time.sleep(0.2)
    assert kept.series["noise/step"][1] == [1.0, 11.0]
    assert kept.series["noise/trace"][1] == [2.5, 1.25]
    assert kept.series["noise/scale"][1] == [40.0]


@pytest.mark.parametrize("is_given", [False, True])
def test_mlflow(is_given: bool, tmp_path: Path) -> None:
    raw.needs("mlflow")
    from mlflow.tracking import MlflowClient

    from critbatch.trackers.mlflow import Mlflow

    place = f"sqlite:///{tmp_path}/runs.db"
    client = MlflowClient(place)
    run_id = client.create_run("0").info.run_id if is_given else None
    tracker = Mlflow(run_id, tracking_uri=place)
    write(tracker)
    (run,) = client.search_runs(["0"])
    trace = client.get_metric_history(run.info.run_id, "noise/trace")
    assert [(one.step, one.value) for one in trace] == [(1, 2.5), (11, 1.25)]
    assert run.info.status == ("RUNNING" if is_given else "FINISHED")


def test_the_terminal_shows_one_line() -> None:
    from rich.console import Console

    from critbatch.trackers.terminal import Terminal

    screen = io.StringIO()
    tracker = Terminal(Console(file=screen, width=120))
    tracker.write(1, {"noise/batch_size": 64.0})
    tracker.write(
        11, {"noise/scale": 40.0, "noise/scale_low": 30.0, "noise/scale_high": 50.0, "noise/batch_size": 64.0}
    )
    tracker.close()
    assert screen.getvalue().strip() == "step 11  noise scale 40 [30, 50]  batch 64"


def test_a_monitor_writes_to_its_trackers(tmp_path: Path) -> None:
    import torch

    from critbatch.monitor import GradientNoiseMonitor
    from critbatch.trackers.jsonl import Jsonl

    from ..monitor import loops

    model = loops.perceptron()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with GradientNoiseMonitor(model, optimizer, every=2, trackers=[Jsonl(tmp_path / "noise.jsonl")]) as monitor:
        loops.train(model, optimizer, loops.batches(8, 12))
    lines = [json.loads(line) for line in (tmp_path / "noise.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [one.step for one in monitor.history.measured] == [1, 3, 5, 7]
    assert lines[0]["noise/trace"] == pytest.approx(monitor.history.measured[0].moments.traces.sum())
