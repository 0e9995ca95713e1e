"""What a test needs that may be absent: it is skipped, or fails where CRITBATCH_REQUIRE_ALL=1 asks for everything."""

import importlib.util
import os

import pytest

from critbatch.optimizer import Optimizer

FROM_LARGE_BATCH = ("LARS", "LAMB")


def require(condition: bool, reason: str) -> None:
    """Skip the running test for `reason` unless `condition` holds; under CRITBATCH_REQUIRE_ALL=1 fail instead."""
    if condition:
        return
    if os.environ.get("CRITBATCH_REQUIRE_ALL", "") not in {"", "0"}:
        pytest.fail(f"CRITBATCH_REQUIRE_ALL=1 allows no skip, but: {reason}")
    pytest.skip(reason)


def require_data() -> None:
    """Skip the running test, or fail it, where CRITBATCH_DATA does not name a folder of data sets."""
    require(
        bool(os.environ.get("CRITBATCH_DATA")),
        "CRITBATCH_DATA is not set: the data sets that are read from files are missing.",
    )


def require_reference(optimizer: Optimizer) -> None:
    """Skip the running test, or fail it, where the reference of this update rule is not installed."""
    is_there = importlib.util.find_spec("pytorch_optimizer") is not None
    require(
        is_there or type(optimizer).__name__ not in FROM_LARGE_BATCH,
        "pytorch_optimizer is not installed. Run: pip install 'critbatch[large-batch]'",
    )
