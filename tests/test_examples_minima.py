"""The examples of docs/minima.md as a user runs them: from Python as scripts, and from the command line by their files."""

import json
import math
import runpy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from critbatch.cli import app

from .conftest import ROOT

runner = CliRunner()
SAID = {
    "mlp": {"batch size 16: hessian_trace", "batch size 512: adaptive_sharpness[elementwise]"},
    "cnn": {"hessian_largest_eigenvalue", "batch_sharpness[mean_of_ratios]", "stability_edge"},
    "transformer": {"hessian_trace", "noise_participation_ratio", "noise_participation_ratio_null"},
}
TAKEN = {
    "mlp": ("distance", "ascent_sharpness", "adaptive_sharpness"),
    "cnn": ("distance", "ascent_sharpness"),
    "transformer": ("distance", "ascent_sharpness"),
}


def numbers(said: str) -> dict[str, float]:
    """Return the numbers that an example printed, by quantity."""
    found = (line.split(" = ") for line in said.splitlines() if " = " in line)
    return {name: float(value.split()[0]) for name, value in found}


@pytest.mark.parametrize("name", SAID)
def test_an_example_measures_draws_and_can_be_measured_from_the_command_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    example = ROOT / "examples" / f"minima_{name}.py"
    runpy.run_path(str(example), run_name="__main__")
    found = numbers(capsys.readouterr().out)
    assert set(found) >= SAID[name]
    assert all(math.isfinite(value) for value in found.values())
    assert min(value for quantity, value in found.items() if "largest_eigenvalue" in quantity) > 0
    picture = (tmp_path / f"minima_{name}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000

    weights = ["--weights", str(tmp_path / f"{name}.pt"), "--json"]
    answer = runner.invoke(app, ["measure", f"{example}:task", *TAKEN[name], *weights])
    assert answer.exit_code == 0, answer.output
    measured = {one["quantity"]: one["value"] for one in json.loads(answer.stdout)["measured"]}
    assert measured["distance_from_start"] > 0.5, "the stored weights were not read"
    assert measured["ascent_sharpness[m=32]"] > measured["ascent_sharpness"] > 0
    if name == "mlp":
        here = found["batch size 16: adaptive_sharpness[elementwise]"]
        assert measured["adaptive_sharpness[elementwise]"] == pytest.approx(here, rel=0.05)
