"""The cache gives back what was computed, and is never trusted blindly."""

import sys

import numpy as np
import pytest

from critbatch.datasets.cache import cache_folder, cached


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "critbatch"


def counted(calls: list[int]):
    def compute() -> dict[str, np.ndarray]:
        calls.append(1)
        return {"a": np.arange(5.0), "b": np.array([1, 2])}

    return compute


def test_an_array_is_computed_once_and_leaves_no_other_file(folder):
    calls: list[int] = []
    first, again = (cached("key", counted(calls)) for _ in range(2))
    assert len(calls) == 1
    assert {name: value.tolist() for name, value in first.items()} == {"a": [0, 1, 2, 3, 4], "b": [1, 2]}
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert [path.name for path in folder.iterdir()] == ["key.npz"]
    cached("other", counted(calls))
    assert len(calls) == 2


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"not an archive"])
def test_a_damaged_file_is_computed_again(folder, content):
    calls: list[int] = []
    folder.mkdir()
    (folder / "key.npz").write_bytes(content)
    assert cached("key", counted(calls))["b"].tolist() == [1, 2]
    cached("key", counted(calls))
    assert len(calls) == 1


def test_a_pickle_in_the_cache_is_not_opened(folder):
    folder.mkdir()
    np.savez(folder / "key.npz", a=np.array([{"run": "me"}], dtype=object))
    calls: list[int] = []
    assert cached("key", counted(calls))["b"].tolist() == [1, 2]
    assert len(calls) == 1


def test_a_folder_that_cannot_be_made_costs_time_only(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    calls: list[int] = []
    for _ in range(2):
        cached("key", counted(calls))
    assert len(calls) == 2


def test_a_failed_computation_leaves_nothing(folder):
    def fail() -> dict[str, np.ndarray]:
        raise ArithmeticError("no features")

    with pytest.raises(ArithmeticError, match="no features"):
        cached("key", fail)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("linux", ".cache/critbatch"), ("darwin", "Library/Caches/critbatch"), ("win32", "Local/critbatch/Cache")],
)
def test_each_platform_has_its_own_place(monkeypatch, platform, expected):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    assert cache_folder().as_posix().endswith(expected)
