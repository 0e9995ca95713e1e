"""The examples of the monitor, as a reader runs them."""

import os
import subprocess
import sys

import pytest

from ..conftest import ROOT
from . import raw


@pytest.mark.parametrize(
    ("framework", "readings"), [("raw", 1), ("accelerate", 1), ("lightning", 1), ("keras", 1), ("transformers", 2)]
)
def test_an_example_prints_its_readings(framework: str, readings: int) -> None:
    if framework != "raw":
        raw.needs(framework)
    script = ROOT / "examples" / f"monitor_{framework}.py"
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=300, cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [line for line in done.stdout.splitlines() if "noise scale" in line.lower()]
    assert len(found) == readings, done.stdout
