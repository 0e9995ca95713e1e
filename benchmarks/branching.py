"""Coverage of the local critical batch size on Gaussian regression: 500 trials beside the exact recursion.

python -m benchmarks.branching
"""

import math
import sys
from pathlib import Path

from tests.branching.oracle import Regression, bracket

from critbatch.branching import branch
from critbatch.scaling_rules.linear import Linear

RATE, BATCH, EXAMPLES, TRIALS, OVERHEAD = 0.16, 4, 512, 500, 0.2


def main() -> None:
    """Write benchmarks/results/branching.md."""
    steps = EXAMPLES // BATCH
    last, first = bracket(RATE, BATCH, EXAMPLES, round(steps / (1 + OVERHEAD)))
    lines = [
        "# Branched training against an exact truth",
        "",
        "`python -m benchmarks.branching`. Gaussian regression with eight curvatures, from a state in the middle of a run; branches "
        f"of {EXAMPLES} examples at batch sizes {BATCH} to {8 * BATCH}. By the exact recursion of second moments the critical batch "
        f"size lies between {last * BATCH} and {first * BATCH}. {TRIALS} trials for each number of seeds, level 0.95.",
        "",
        "| seeds | interval holds the truth | lower end found | upper end found |",
        "|---|---|---|---|",
    ]
    for seeds in (3, 5, 10):
        right = lows = highs = 0
        for trial in range(TRIALS):
            found = branch(
                Regression(RATE, trial),
                batch_size=BATCH,
                examples=EXAMPLES,
                rule=Linear(),
                seeds=seeds,
                overhead=OVERHEAD,
            ).critical_batch_size
            lows, highs = lows + (found.low is not None), highs + (found.high is not None)
            right += (found.low or 0) <= last * BATCH and (found.high or math.inf) >= first * BATCH
        lines.append(f"| {seeds} | {right} of {TRIALS} ({right / TRIALS:.1%}) | {lows} | {highs} |")
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "results" / "branching.md").write_text(text)
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
