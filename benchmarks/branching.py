"""Coverage of the local critical batch size on Gaussian regression: 500 trials beside the exact recursion.

python -m benchmarks.branching
"""

import math
import sys
from pathlib import Path

from tests.branching.oracle import Regression, bracket

from critbatch.branching import branch
from critbatch.scaling_rules.linear import Linear

RATE, TRIALS = 0.16, 500
CASES = ((0.2, 4, 512, (1, 2, 4, 8)), (1.0, 8, 1024, (1, 2, 4, 8, 16)))  # overhead, batch size, examples, multiples


def row(case: tuple[float, int, int, tuple[int, ...]], seeds: int) -> str:
    """Return a row of the table."""
    overhead, size, examples, multiples = case
    last, first = bracket(RATE, size, examples, round(examples // size / (1 + overhead)), multiples)
    right = lows = highs = 0
    for trial in range(TRIALS):
        found = branch(
            Regression(RATE, trial), batch_size=size, examples=examples, rule=Linear(), seeds=seeds, overhead=overhead,
            multiples=multiples,
        ).critical_batch_size  # fmt: skip
        lows, highs = lows + (found.low is not None), highs + (found.high is not None)
        right += (found.low or 0) <= last * size and (found.high or math.inf) >= first * size
    return (
        f"| {overhead:.0%} | {size}, {examples} | {last * size} to {first * size} | {seeds} | {right} of {TRIALS} "
        f"({right / TRIALS:.1%}) | {lows} | {highs} |"
    )


def main() -> None:
    """Write benchmarks/results/branching.md."""
    lines = [
        "# Branched training against an exact truth",
        "",
        "`python -m benchmarks.branching`. Gaussian regression with eight curvatures, from a state in the middle of a run. Where the",
        "local critical batch size lies follows from the exact recursion of second moments (best of the same three rates).",
        "",
        "| overhead | batch size, examples | truth lies in | seeds | interval holds it | lower end found | upper end found |",
        "|---|---|---|---|---|---|---|",
        *(row(case, seeds) for case in CASES for seeds in (3, 5, 10)),
    ]
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "results" / "branching.md").write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
