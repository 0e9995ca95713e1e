"""Claims put to the test for real, at smoke scale."""

import json

import pytest
from typer.testing import CliRunner

from critbatch.archive import Archive
from critbatch.claims import registry
from critbatch.cli import app
from critbatch.executors.serial import Serial
from critbatch.inquiry import inquire
from critbatch.stores.memory import Memory
from critbatch.study import Workshop
from tests.problems import blob_task

CLAIM = registry()["K-1"]


@pytest.fixture(scope="module")
def shop():
    return Workshop(Memory(), Serial())


def test_the_same_runs_are_not_trained_twice(shop, monkeypatch):
    (first,) = inquire([CLAIM], "smoke", shop)
    assert first.verdict is not None
    assert first.exhibit is not None
    assert set(first.verdict.runs) == set(first.exhibit.evidence.runs["run"].to_list())
    monkeypatch.setattr("critbatch.inquiry.train_missing", None)  # calling it would raise
    (again,) = inquire([CLAIM], "smoke", shop)
    assert again.verdict == first.verdict
    archive = Archive()
    archive.add(first.exhibit.evidence, first.exhibit.facts.values())
    (archived,) = inquire([CLAIM], "smoke", Workshop(Memory(), Serial()), archive=archive)
    assert archived.verdict is not None
    assert archived.verdict.parts == first.verdict.parts


def test_other_seeds_are_other_runs(shop):
    (first,) = inquire([CLAIM], "smoke", shop)
    (other,) = inquire([CLAIM], "smoke", shop, first_seed=100)
    assert first.verdict is not None
    assert other.verdict is not None
    assert other.exhibit is not None
    assert not set(first.verdict.runs) & set(other.verdict.runs)
    assert min(other.exhibit.evidence.runs["seed"]) == 100


def test_a_task_of_ones_own(shop):
    task = blob_task()
    (found,) = inquire([CLAIM], "smoke", shop, own=task)
    assert found.verdict is not None
    assert found.exhibit is not None
    assert set(found.exhibit.evidence.runs["task"]) == {task.name}
    assert not found.exhibit.facts["main"].is_bed


def test_a_claim_that_cannot_be_tried_says_why(shop):
    refusing = next(one for one in registry().values() if one.why_not_yours)
    (found,) = inquire([refusing], "smoke", shop, own=blob_task())
    assert found.verdict is None
    assert found.reason == refusing.why_not_yours


def test_missing_data_are_a_reason_not_an_error(shop, monkeypatch):
    monkeypatch.delenv("CRITBATCH_DATA", raising=False)
    from critbatch.inquiry import made

    made.cache_clear()
    (found,) = inquire([CLAIM], "full", shop)
    assert found.verdict is None
    assert "CRITBATCH_DATA" in found.reason


def said(*words):
    return CliRunner().invoke(app, ["claims", *words])


def test_list_and_show():
    listed = json.loads(said("list", "--json").stdout)["claims"]
    assert [one["id"] for one in listed] == list(registry())
    assert CLAIM.statement in said("show", "k-1").stdout
    assert json.loads(said("show", "QA-2", "--json").stdout)["id"] == "QA-2"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run"], "name claims, or give --all"),
        (["run", "QA-99"], "No claim is called 'QA-99'"),
        (["run", "QA-2", "--scale", "huge"], "use smoke or full"),
        (["judge", "QA-2", "--evidence", "nowhere"], "is no archive"),
    ],
)
def test_wrong_words_get_a_clear_error(words, message):
    found = said(*words)
    assert found.exit_code == 2
    assert message in found.stderr


def test_run_writes_what_it_found(tmp_path):
    out, archive = tmp_path / "out", tmp_path / "archive"
    found = said(
        "run", "QA-2", "--scale", "smoke", "--workers", "1", "--out", str(out), "--archive", str(archive), "-q"
    )
    assert found.exit_code in {0, 3}, found.output
    (written,) = json.loads((out / "claims.json").read_text())["claims"]
    assert written["id"] == "QA-2"
    assert written["outcome"] in found.stdout
    assert {one.name for one in archive.iterdir()} == {"runs.parquet", "records.parquet", "tasks.json", "seconds.json"}
