"""The rules that hold for every test are themselves tested: each must be able to say no."""

import os
import socket
from typing import Any

import pytest
import torch

from .conftest import NetworkForbidden, is_forbidden_skip, refuse_skip

DOCUMENTATION_ADDRESS = ("192.0.2.1", 80)  # RFC 5737: belongs to nobody


def test_connecting_to_another_computer_raises():
    with socket.socket() as endpoint, pytest.raises(NetworkForbidden, match="no network"):
        endpoint.connect(DOCUMENTATION_ADDRESS)


def test_looking_up_a_name_raises():
    with pytest.raises(NetworkForbidden, match="no network"):
        socket.getaddrinfo("example.org", 80)


def test_connecting_to_this_computer_works():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as endpoint:
        assert endpoint.getpeername() == server.getsockname()


def test_torch_uses_one_thread_here_and_in_processes_that_tests_start():
    assert torch.get_num_threads() == 1
    assert os.environ["OMP_NUM_THREADS"] == "1"


def report_of_a_skip(reason: str) -> pytest.TestReport:
    return pytest.TestReport("a test", ("a file", 1, "a test"), {}, "skipped", ("a file", 1, reason), "call")


@pytest.mark.parametrize(("reason", "outcome"), [("needs ray", "failed"), ("needs a GPU", "skipped")])
def test_a_skip_fails_where_everything_is_required(monkeypatch, reason, outcome):
    monkeypatch.setenv("CRITBATCH_REQUIRE_ALL", "1")
    report = report_of_a_skip(reason)
    refuse_skip(report)
    assert report.outcome == outcome


def test_a_skip_stays_a_skip_elsewhere(monkeypatch):
    monkeypatch.delenv("CRITBATCH_REQUIRE_ALL", raising=False)
    assert not is_forbidden_skip("needs ray")


def test_annotations_are_checked_while_tests_run():
    from critbatch.randomness import seed_of

    text: Any = "1"
    assert seed_of(1, "order") != seed_of(2, "order")
    with pytest.raises(TypeError, match="seed_of"):
        seed_of(text, "order")
