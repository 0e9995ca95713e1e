"""What trackers wrote is read: files of the real tools (data/README.md), and damaged or odd ones made here."""

import json
import math
import shutil
import sqlite3
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from critbatch.log import wire_fields
from critbatch.logs import mlflow, read_log, tensorboard, wandb

from .reading import curves, read_text, runs, said

DATA = Path(__file__).parent / "data"
SOURCES = {
    "tensorboard": (tensorboard, "val/acc"),
    "tensorboard_names": (tensorboard, "val/acc"),
    "wandb": (wandb, "val.acc"),
    "mlruns": (mlflow, "val/acc"),
    "mlflow.db": (mlflow, "val/acc"),
}


@pytest.mark.parametrize("name", SOURCES)
def test_curves_of_the_real_tools_are_read(name):
    log = read_log(DATA / name, columns={"metric": SOURCES[name][1]})
    expected = [
        (size, rate, seed, 10.0 * k, 1 - size / 64 / k)
        for size, rate, seed in ((16, 0.1, "0"), (64, 0.2, "1"))
        for k in range(1, 8)
    ]
    found = curves(log).drop("run").rows()
    assert [row[:4] for row in found] == [row[:4] for row in expected]
    assert [row[4] for row in found] == pytest.approx([row[4] for row in expected], abs=1e-7)  # float32 in event files
    assert curves(log)["run"].n_unique() == 2


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlruns", "mlflow.db"])
def test_the_last_loss_is_nan(name):
    table = curves(read_log(DATA / name, columns={"metric": "loss"}))
    assert [math.isnan(value) for value in table["metric"]] == [False] * 6 + [True] + [False] * 6 + [True]


def test_new_scalars_of_tensorboard_are_read():
    (first, _) = tensorboard.read(DATA / "tensorboard")
    assert first.series["dbl"] == ([10.0 * k for k in range(1, 8)], [1 / k for k in range(1, 8)])
    assert first.series["new"][1] == pytest.approx(first.series["dbl"][1], rel=1e-7)
    assert first.config == {"batch_size": 16, "lr": 0.1, "seed": 0, "opt": "sgd", "nesterov": 1}


def test_several_metrics_are_listed():
    with pytest.raises(ValueError, match="'val/acc', 'loss', 'new', 'dbl', 'final' may each be the metric"):
        read_log(DATA / "tensorboard")


def test_steps_to_target_in_a_summary_are_runs():
    log = read_log(DATA / "wandb")
    assert runs(log) == [(16, 40.0, True), (64, 40.0, True)]
    assert log.columns["learning_rate"] == "optimizer.lr"
    assert said(log, "steps to target were logged as a number")
    assert runs(read_log(DATA / "wandb", columns={"steps": "steps_to_target"})) == runs(log)


def test_one_file_is_one_run():
    for path in sorted((DATA / "wandb").rglob("*.wandb")) + sorted((DATA / "tensorboard_names").rglob("*tfevents*")):
        assert SOURCES["wandb" if path.suffix == ".wandb" else "tensorboard"][0].recognizes(path)
        metric = "val.acc" if path.suffix == ".wandb" else "val/acc"
        columns = {"metric": metric}
        if path.suffix == ".wandb" or path.parent.name.startswith("bs="):
            assert curves(read_log(path, columns=columns))["batch_size"].n_unique() == 1


def test_the_step_may_be_called_epochs():
    log = read_log(DATA / "tensorboard_names", columns={"metric": "val/acc", "epochs": "step"}, train_size=640)
    assert curves(log)["step"][:2].to_list() == [400.0, 800.0]
    assert said(log, "batch size is read from the runs' names, such as 'bs=16,lr=0.1,seed=0'")


def test_names_of_the_user_are_checked():
    with pytest.raises(ValueError, match="no column 'width'"):
        read_log(DATA / "wandb", columns={"batch_size": "width"})
    with pytest.raises(ValueError, match="must be set once a run, not a metric"):
        read_log(DATA / "wandb", columns={"batch_size": "loss", "metric": "val.acc"})
    with pytest.raises(ValueError, match="--kind summaries: a tracker's runs are read as 'curves'"):
        read_log(DATA / "wandb", kind="summaries")


def test_several_trackers_in_one_folder_are_refused(tmp_path):
    for name in ("wandb", "tensorboard"):
        shutil.copytree(DATA / name, tmp_path / name)
    with pytest.raises(ValueError, match=r"holds runs of W&B and of TensorBoard\. Name the folder of one"):
        read_log(tmp_path)


@pytest.mark.parametrize("name", ["tensorboard_names", "wandb"])
def test_a_file_cut_off_is_read_and_a_damaged_one_refused(name, tmp_path):
    source = next(path for path in sorted((DATA / name).rglob("*")) if path.is_file())
    place = tmp_path / source.name
    data = source.read_bytes()
    place.write_bytes(data[:-5])
    assert SOURCES[name][0].read(place)[0].series
    middle = len(data) // 2
    place.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
    with pytest.raises(ValueError, match="is damaged"):
        SOURCES[name][0].read(place)


# The formats written anew, from their specifications: they share no code with the readers.


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def field(number: int, value: int | float | bytes) -> bytes:
    match value:
        case bool() | int():
            return varint(number << 3) + varint(value)
        case float():
            return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 2**20), st.one_of(st.integers(0, 2**64 - 1), st.binary(), st.floats(width=32))))
)
def test_any_message_comes_back(fields):
    found = list(wire_fields(b"".join(field(*pair) for pair in fields)))
    assert [repr(pair) for pair in found] == [repr(pair) for pair in fields]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"\x08", "not complete"),
        (b"\x0a\x05ab", "2 of its 5 bytes"),
        (b"\x0b", "wire type 3"),
        (b"\xff" * 12, "complete"),
    ],
)
def test_other_bytes_are_no_message(message, problem):
    with pytest.raises(ValueError, match=problem):
        list(wire_fields(message))


def bitwise_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_the_checksum_is_that_of_its_definition():
    assert bitwise_crc32c(b"123456789") == tensorboard.masked_crc32c(b"123456789")
    plain = ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF  # the check value of CRC-32C
    assert tensorboard.masked_crc32c(b"123456789") == plain


def scalars(folder: Path, tag: str, values: dict[int, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "events.out.tfevents.1.x").open("ab")
    for step, value in values.items():
        summary = field(1, field(1, tag.encode()) + field(2, value))
        record = field(2, step) + field(5, summary)
        size = struct.pack("<Q", len(record))
        file.write(size + struct.pack("<I", bitwise_crc32c(size)) + record + struct.pack("<I", bitwise_crc32c(record)))
    file.close()


def test_folders_of_keras_and_of_add_scalars_are_parts_of_their_run(tmp_path):
    scalars(tmp_path / "bs8" / "train", "epoch_loss", {0: 1.0, 1: 0.5})
    scalars(tmp_path / "bs8" / "validation", "epoch_loss", {0: 2.0, 1: 1.5})
    scalars(tmp_path / "bs16", "lr", {0: 0.5})
    scalars(tmp_path / "bs16" / "epoch_loss_x", "epoch_loss", {0: 3.0})
    found = {run.name: run.series for run in tensorboard.read(tmp_path)}
    assert found == {
        "bs8": {"train/epoch_loss": ([0.0, 1.0], [1.0, 0.5]), "validation/epoch_loss": ([0.0, 1.0], [2.0, 1.5])},
        "bs16": {"lr": ([0.0], [0.5]), "epoch_loss/x": ([0.0], [3.0])},
    }
    log = read_log(tmp_path, columns={"metric": "train/epoch_loss"})
    assert said(log, "Left out, without 'train/epoch_loss': 'bs16'.")
    assert said(log, "if those are epochs, say so with --column epochs=step")


def test_looks_written_again_count_once(tmp_path):
    scalars(tmp_path / "bs8", "acc", {0: 0.0, 1: 0.25, 2: 0.5})
    scalars(tmp_path / "bs8", "acc", {1: 0.75, 2: 1.0})
    log = read_log(tmp_path)
    assert curves(log)["metric"].to_list() == [0.0, 0.75, 1.0]
    assert said(log, "2 looks were written again at the same step")


def test_no_batch_size_anywhere_is_refused(tmp_path):
    scalars(tmp_path / "first", "acc", {0: 0.0})
    with pytest.raises(ValueError, match=r"No run says its batch size.*What was set: nothing"):
        read_log(tmp_path)
    scalars(tmp_path / "batch_size_128_lr1e-3", "acc", {0: 0.0})
    with pytest.raises(ValueError, match=r"has None in run 'first': every row needs its batch size"):
        read_log(tmp_path)
    shutil.rmtree(tmp_path / "first")
    assert curves(read_log(tmp_path))["learning_rate"].to_list() == [0.001]


def wandb_file(path: Path, records: list[bytes]) -> None:
    data = bytearray(b":W&B\xe1\xbe\x00")
    for record in records:
        rest, part = record, 2
        while True:
            room = 32768 - len(data) % 32768
            if room < 7:
                data += b"\0" * room
                continue
            piece, rest = rest[: room - 7], rest[room - 7 :]
            kind = (1 if part == 2 else 4) if not rest else part
            data += struct.pack("<IHB", zlib.crc32(bytes([kind]) + piece), len(piece), kind) + piece
            part = 3
            if not rest:
                break
    path.write_bytes(bytes(data))


def item(name: str, value: object) -> bytes:
    return field(1, field(1, name.encode()) + field(16, json.dumps(value).encode()))


def test_records_over_several_blocks_and_a_true_step_are_read(tmp_path):
    about = field(17, field(8, b"mine") + field(4, item("bs", 8) + item("note", "x" * 100_000)))
    looks = [
        field(2, item("acc", k / 8) + item("train/global_step", 50 * k) + field(2, field(1, k))) for k in range(99)
    ]
    wandb_file(tmp_path / "run-abc.wandb", [about, *looks])
    log = read_log(tmp_path)
    assert log.columns["step"] == "train/global_step"
    assert curves(log)["run"][0] == "mine (abc)"
    assert curves(log).select("step", "metric").rows() == [(50.0 * k, k / 8) for k in range(99)]
    assert curves(read_log(tmp_path, columns={"step": "step", "metric": "acc"}))["step"][-1] == 98


def test_a_run_without_its_result_is_censored_at_its_last_step(tmp_path):
    for name, result in (("a", [item("steps_to_target", 30)]), ("b", [])):
        look = field(2, item("acc", 0.5) + field(2, field(1, 70)))
        summary = [field(3, part) for part in result]
        wandb_file(tmp_path / f"run-{name}.wandb", [field(17, field(4, item("bs", 8))), look, *summary])
    assert runs(read_log(tmp_path)) == [(8, 30.0, True), (8, 70.0, False)]


def test_a_file_that_is_not_of_wandb_is_refused(tmp_path):
    with pytest.raises(ValueError, match="damaged or of another version: it does not begin as such a file does"):
        read_text(tmp_path, "hello", "run-x.wandb")


def test_deleted_runs_of_mlflow_are_left_out(tmp_path):
    folder = shutil.copytree(DATA / "mlruns", tmp_path / "mlruns")
    meta = next(folder.glob("*/96*/meta.yaml"))
    meta.write_text(meta.read_text().replace("active", "deleted"))
    place = shutil.copy(DATA / "mlflow.db", tmp_path)
    connection = sqlite3.connect(place)
    connection.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE name = 'run-64'")
    connection.commit()
    connection.close()
    for path in (folder, place):
        assert set(curves(read_log(path, columns={"metric": "loss"}))["batch_size"]) == {16}


def test_another_database_and_a_broken_metric_are_refused(tmp_path):
    connection = sqlite3.connect(tmp_path / "x.db")
    connection.execute("CREATE TABLE runs (a)")
    connection.commit()
    connection.close()
    with pytest.raises(ValueError, match=r"no database of MLflow, or a damaged one: no such column"):
        read_log(tmp_path / "x.db")
    folder = shutil.copytree(DATA / "mlruns", tmp_path / "mlruns")
    next(folder.rglob("loss")).write_text("1 2 3\nhello\n")
    with pytest.raises(ValueError, match=r"MLflow metric 'loss' of run .*, line 2"):
        read_log(folder)
