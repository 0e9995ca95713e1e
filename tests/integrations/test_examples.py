"""The examples of the monitor, run as they are."""

import runpy

import pytest

from ..conftest import ROOT
from . import raw

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize(
    ("framework", "readings"), [("raw", 1), ("accelerate", 1), ("lightning", 1), ("keras", 1), ("transformers", 2)]
)
def test_an_example_prints_its_readings(
    framework: str, readings: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if framework != "raw":
        raw.needs(framework)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    runpy.run_path(str(ROOT / "examples" / f"monitor_{framework}.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert len([line for line in said.splitlines() if "noise scale" in line]) == readings, said
