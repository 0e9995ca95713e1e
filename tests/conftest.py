"""What holds for every test: real data where they lie, one thread, no network, and no silent skip in CI."""

import ipaddress
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
NETWORK_EVENTS = {"socket.connect", "socket.sendto", "socket.sendmsg"}
MAY_BE_MISSING = "GPU"  # the one reason to skip that CRITBATCH_REQUIRE_ALL=1 allows


class NetworkForbidden(Exception):
    """Raised by a test that tries to leave this computer."""


def is_local(address: object) -> bool:
    """Return whether a socket address is of this computer: loopback, a Unix socket or not an internet address."""
    if not (isinstance(address, tuple) and address and isinstance(address[0], str)):
        return True
    try:
        return ipaddress.ip_address(address[0]).is_loopback
    except ValueError:
        return address[0] in {"", "localhost"}


def forbid_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise on an attempt to reach another computer. An audit hook: no library can go around it."""
    if event in NETWORK_EVENTS and not is_local(arguments[1]):
        raise NetworkForbidden(f"{event} to {arguments[1]}: tests use no network.")
    if event == "socket.getaddrinfo" and not is_local((arguments[0],)):
        raise NetworkForbidden(f"Look-up of {arguments[0]!r}: tests use no network.")


def is_forbidden_skip(reason: str) -> bool:
    """Return whether CRITBATCH_REQUIRE_ALL=1 turns a skip with this reason into a failure."""
    required = os.environ.get("CRITBATCH_REQUIRE_ALL", "") not in {"", "0"}
    return required and MAY_BE_MISSING not in reason


def refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure where CRITBATCH_REQUIRE_ALL=1 asks for it."""
    if report.outcome == "skipped" and not hasattr(report, "wasxfail") and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2]
        if is_forbidden_skip(reason):
            report.outcome = "failed"
            report.longrepr = f"CRITBATCH_REQUIRE_ALL=1 allows no skip, but: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    report = yield
    refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    report = yield
    refuse_skip(report)
    return report


@pytest.fixture(autouse=True, scope="session")
def _cache_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep compiled steps and decisions in a folder of these tests' own, which all their processes share."""
    own = tmp_path_factory.getbasetemp()
    place = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("CRITBATCH_CACHE", str(place / "cache"))
        yield


def pytest_configure() -> None:
    if SHARED_DATA.is_dir():
        os.environ.setdefault("CRITBATCH_DATA", str(SHARED_DATA))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"):
        os.environ[name] = "1"  # processes that tests start read these; torch here is told below
    hypothesis.settings.register_profile("critbatch", deadline=None)
    hypothesis.settings.register_profile("ci", deadline=None, derandomize=True)
    is_ci = bool(os.environ.get("CI") or os.environ.get("CRITBATCH_REQUIRE_ALL"))
    hypothesis.settings.load_profile("ci" if is_ci else "critbatch")
    import torch  # after the environment is set

    torch.set_num_threads(1)
    sys.addaudithook(forbid_network)
