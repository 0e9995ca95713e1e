"""Print docs/calibration.md: every check of the instrument at full scale. `make calibration` writes the file (many minutes)."""

import platform
import sys
from importlib.metadata import version

from critbatch.calibration import Check, calibrate

HEAD = """# Calibration

Made by `make calibration` from `critbatch calibrate --full`: the instrument held to known truths. Try it on your machine:
`critbatch calibrate` takes two minutes, `--quick` under 20 seconds; it exits with 1 if a check fails.

- **truth** is exact, or the nominal level of an interval; **found** is what critbatch made of it, with the interval in which
  that is known (4 standard errors of a mean, the exact binomial interval of a share).
- Coverages pass between 92% and 97%. Those marked "reported, not judged" belong to methods that stand beside ours.
- Faults put in on purpose (dividing by n, clamping |G|^2, the delta method, dropping or replacing censored runs, no Holm,
  intervals half as wide) are each caught by some check: `tests/test_calibration.py`.

The choice of intervals rests on this table. Percentile bootstraps over five seeds undercover; leaving out one seed at a time
with Student's t does not, as long as the learning rate is chosen by a parabola through the scores and not by the best one of
them, whose steps are too few (the winner's curse).
"""


def main() -> None:
    """Print the page."""
    found = calibrate("full", watch=lambda one: print(f"{one.name}: {one.passed}", file=sys.stderr))
    versions = ", ".join(f"{name} {version(name)}" for name in ("critbatch", "numpy", "scipy", "torch"))
    print(HEAD)
    print(f"Python {platform.python_version()}, {versions}. {len(found)} checks, {sum(not one.passed for one in found)} failed.")
    for kind in dict.fromkeys(one.kind for one in found):
        print(f"\n## {kind.capitalize()}\n")
        print("| check | truth | found | interval | of | passes | setup |\n|---|---:|---:|---|---:|---|---|")
        for one in found:
            if one.kind == kind:
                print(row(one))


def row(one: Check) -> str:
    """Return one check as a row of the table."""
    ends = "" if one.low == one.high else f"{one.low:.4g} to {one.high:.4g}"
    verdict = "yes" if one.passed else "**no**"
    cells = (one.name, f"{one.truth:.4g}", f"{one.estimate:.4g}", ends, f"{one.count:,}", verdict, one.detail)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    main()
