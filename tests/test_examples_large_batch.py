"""The example of docs/large-batch-optimizers.md as a user runs it, and whether the page has its figures."""

import re
import runpy

import pytest

from critbatch.optimizers.lars import LARS

from .conftest import ROOT
from .requirements import require_reference

LINE = re.compile(
    r"(.+): test accuracy ([\d.]+) \(([\d.]+) to ([\d.]+)\), (\d) of 5 reached the target, median work (\d+|inf) examples; "
    r"learning rate ([\d.]+)(, at the edge of the search)?; (\d+) \+ 5 runs"
)


def test_every_rule_of_the_example_has_the_same_search_and_the_page_has_its_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    require_reference(LARS())
    runpy.run_path(str(ROOT / "examples" / "large_batch_optimizers.py"), run_name="__main__")
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "6 rules, 6 learning rates each on 2 seeds; the best again on 5 fresh ones"
    found = [match.groups() for line in lines if (match := LINE.fullmatch(line))]
    assert [name for name, *_ in found] == [
        "sgd", "sgd, momentum 0.9", "lars, momentum 0.9", "lamb", "emso, 3 inner steps", "sgd, batch size 64",
    ]  # fmt: skip
    page = (ROOT / "docs" / "large-batch-optimizers.md").read_text("utf-8")
    shown = {row[0].strip(): row[1:] for line in page.splitlines() if len(row := line.strip("| ").split("|")) == 6}
    for name, mean, low, high, *_, edge, searched in found:
        assert edge is None, f"{name}: the best learning rate was not inside the search"
        assert searched == "12"
        assert 0.9 < float(low) <= float(mean) <= float(high) < 1
        assert float(shown[name][0]) == pytest.approx(float(mean), abs=0.01)  # another processor, other rounding
