"""The data folder: found where it is, and explained where it is not."""

import pytest

from critbatch.datasets.location import locate


def test_the_first_candidate_that_exists_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("CRITBATCH_DATA", str(tmp_path))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "b").touch()
    (tmp_path / "c").touch()
    assert locate("a", "raw/b", "c") == tmp_path / "raw" / "b"


def test_without_a_folder_the_message_says_what_to_set(monkeypatch):
    monkeypatch.delenv("CRITBATCH_DATA", raising=False)
    with pytest.raises(
        ValueError, match=r"^CRITBATCH_DATA is not set, .* Set CRITBATCH_DATA to a folder that holds a or b"
    ):
        locate("a", "b")


def test_what_is_missing_is_named_with_its_path_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("CRITBATCH_DATA", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"There is no .*Set CRITBATCH_DATA to a folder that holds a or b"
    ) as caught:
        locate("a", "b")
    assert str(tmp_path / "a") in str(caught.value)
    assert str(tmp_path / "b") in str(caught.value)
    assert "\n" not in str(caught.value)
