"""QA-2: the comments under the founding question. For the same number of updates, is a larger batch always at least as good?"""

from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.readings import common_amount
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.parts import accuracy_margin, band, none_beats, slope_estimate, verdict
from ..judging.protocol import common_sweep
from ..judging.reading import arm_grid, at, table, tuned, worse
from ..plan import Plan, Run

UPDATES = {"full": 2000, "smoke": 80}
TINY = 1e-12  # below any loss that is told apart from 0


@final
class BiggerAtEqualUpdates(Claim):
    """Two verdicts: training loss, and test accuracy, where an interior optimum would refute "always"."""

    id = "QA-2"
    statement = "For the same number of updates a larger batch is always at least as good."
    source = (
        "comments under the founding question; Hoffer et al. (2017), arXiv:1705.08741; against: Smith and Le (2018)"
    )
    about = "generalization"
    kinds = (Kind.TREND, Kind.DIRECTION)
    budget = "equal updates (2,000)"
    policy = "tuned at each batch size: seven rates a factor of 2 apart, chosen on validation by the other seeds"
    published = (
        "Hoffer Table 1, large batch at equal updates against small: F1 98.53/98.27, C1 88.20/87.80, C3 63.20/61.25 "
        "(second-hand)"
    )
    reads_sweep = True

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"sweep": common_sweep(facts["main"], scale)}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "sweep")
        facts = grid.facts
        updates = min(UPDATES[exhibit.scale], common_amount(grid, "updates"))
        sizes = grid.batch_sizes()
        loss, metric = (at("updates", updates, name, facts) for name in ("train_loss", f"test_{facts.metric}"))
        select = worse(grid, at("updates", updates, f"{facts.selection_split}_{facts.metric}", facts))
        losses = np.log(
            np.maximum(table(grid, sizes, lambda size: tuned(grid, size, score=loss, by_halves=True)), TINY)
        )
        tests = table(grid, sizes, lambda size: tuned(grid, size, score=select, read=metric, by_halves=True))
        sign = 1.0 if facts.better == "above" else -1.0
        parts = [
            band(
                "training loss falls with the batch size",
                slope_estimate(
                    np.log2(sizes), losses, unit="log loss per doubling",
                    definition=f"slope of log training loss at {updates:.0f} updates on log2 batch size",
                ),
                -np.inf, 0.0,
            ),
            none_beats(
                "no smaller batch tests better than the largest",
                [sign * (tests[:, -1] - tests[:, index]) for index in range(len(sizes) - 1)],
                margin=accuracy_margin(facts.test_size), unit=f"test {facts.metric}",
                definition=f"test {facts.metric} at the largest batch less that at the rival, at {updates:.0f} updates",
            ),
        ]  # fmt: skip
        figure = Figure("batch size", f"test {facts.metric} at {updates:.0f} updates", (line("tuned", sizes, tests),))
        return verdict(self.id, exhibit, parts, figure=figure)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = {"true": 0.1, "false": 0.1, "silent": 6.0}[world]
        sign = -1 if world == "false" else 1
        by_seed = generator.normal(size=64)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            own = generator.normal()
            gain = sign * 0.08 * np.log2(run.batch_size) - 0.05 * np.log2(run.learning_rate / 0.25) ** 2
            log_loss = -0.3 * np.log1p(looks) - gain + noise * (by_seed[run.seed] + own)
            test = 0.9 + 0.01 * (gain + noise * own)
            return {"train_loss": np.exp(log_loss), "validation_accuracy": test, "test_accuracy": test}

        return values
