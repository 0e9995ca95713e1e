"""The examples of changing the batch size, run as a user runs them."""

import runpy

import pytest

from .conftest import ROOT

SAID = {
    "scale_hyperparameters": ("rate sqrt(k)", "8 accumulated micro-batches of 32", "applied: rate 0.000106"),
    "batch_size_schedule": ("Ramp: ", "16, 32, 64]", "NormTest: "),
    "effective_batch": ("by BatchNorm (1)", "accumulation is a big batch", "batches of 512 in pieces of 64"),
    "branch_raw": ("Local critical batch size:", "Not detectably worse at equal examples", "Cost: "),
}


@pytest.mark.parametrize("name", SAID)
def test_an_example_says_what_it_promises(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    said = capsys.readouterr().out
    for words in SAID[name]:
        assert words in said, said
