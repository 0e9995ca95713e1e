"""A missing requirement skips, or fails where everything is asked for."""

import contextlib

import pytest

from .requirements import require, require_data


@pytest.mark.parametrize("everything", ["0", "1"])
def test_what_is_there_is_no_reason_to_skip(monkeypatch, everything):
    monkeypatch.setenv("CRITBATCH_REQUIRE_ALL", everything)
    reached = []
    with contextlib.suppress(pytest.skip.Exception, pytest.fail.Exception):
        require(True, "never shown")
        reached.append("what follows")
    assert reached == ["what follows"]


def test_what_is_missing_skips_with_its_reason(monkeypatch):
    monkeypatch.delenv("CRITBATCH_REQUIRE_ALL", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no such thing"):
        require(False, "no such thing")


def test_what_is_missing_fails_where_everything_is_required(monkeypatch):
    monkeypatch.setenv("CRITBATCH_REQUIRE_ALL", "1")
    with pytest.raises(pytest.fail.Exception, match="allows no skip, but: no such thing"):
        require(False, "no such thing")


def test_without_a_data_folder_the_reason_names_the_variable(monkeypatch):
    monkeypatch.delenv("CRITBATCH_REQUIRE_ALL", raising=False)
    monkeypatch.delenv("CRITBATCH_DATA", raising=False)
    with pytest.raises(pytest.skip.Exception, match="CRITBATCH_DATA is not set"):
        require_data()
