"""H3: the asker's third hypothesis. Do large batches fail because batches near the data set's size are not independent?"""

import math
from collections.abc import Mapping
from typing import final

import numpy as np
from scipy.special import ndtri
from typing_extensions import override

from ..bed import DIGITS, Bed
from ..budgets.examples import Examples
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Part, Scale, Verdict, World
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.pairs import BySeed, differences, stacked, tuned_by_seed
from ..judging.parts import accuracy_margin, direction, equivalence, exact, nothing, verdict
from ..judging.protocol import common_budget, common_rates, runs, seeds, sizes
from ..judging.reading import arm_grid, arm_tracks, at, worse
from ..judging.three_samplings import PARTITIONED, RESHUFFLED, ROLE, WITH, Samplings, sampling_arms, sampling_bed
from ..measurements.batch_moments import BatchMoments
from ..plan import Plan, Run

TABLE, REUSED, FRESH = "moments", "re-used data", "fresh data"
RATES = 5  # of the common seven, the lower ones: one pass leaves no time to recover from the upper ones
ONE_PASS = 0.99  # of the fresh data
ARROWS = {"batch_variance_ratio": None, "batch_correlation": "batch_correlation_predicted",
          "batch_correlation_of_data": "batch_correlation_of_data_predicted"}  # fmt: skip
Cells = Mapping[str, tuple[float, float]]


@final
class Correlation(Claim):
    """Exact moments of batches, fresh data against re-used data at the same batch sizes and updates, three samplings.

    Re-used data are the common sweep's, at its lower five learning rates. The fresh data are 29 times as many, seen
    once. The samplings are compared on a smaller bed (500 images of 7 x 7, 49-32-10), which makes training on batches
    of the whole set ten times cheaper.
    """

    id = "H3"
    statement = (
        "Large batches do worse because batches whose size nears that of the training set are no longer independent "
        "draws from the data."
    )
    source = "third hypothesis of the founding question; exact moments: finite-population sampling"
    about = "generalization"
    kinds = (Kind.DIRECTION, Kind.EQUIVALENCE, Kind.TREND, Kind.EXACT)
    budget = "equal examples (26 times the re-used set) for fresh against re-used data; equal updates for the samplings"
    policy = "tuned at each batch size among five rates a factor of 2 apart (samplings: three), by the other seeds"
    published = (
        "variance of a batch mean (S^2/B)(1 - B/N); correlation of two batches -B/(N - B) within an epoch, B/N across "
        "epochs with the training set random (derived)"
    )
    why_not_yours = "It needs fresh data for every step: a second training set, tens of times as large as yours."

    passes: Mapping[str, int] = {"full": 26, "smoke": 3}  # through the re-used data, when both are read
    left = 0.5  # of the deficit: the hypothesis is refuted if that much or more is left on fresh data
    wrong = 0.01  # chance that any cell of a table that holds lies outside of its interval
    rounding = 1e-3
    precise = 0.02  # largest standard error of a cell that can be called checked

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        samplings = sampling_bed(scale)
        if scale == "full":
            return {"main": Bed(), "fresh": Bed(train=58_000), ROLE: samplings}
        return {"main": samplings, "fresh": DIGITS, ROLE: samplings}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        main = facts["main"]
        count = main.train_size or 1
        every = sizes(main, scale)
        chosen = [16, 256, count] if scale == "full" else [every[0], count]
        rates = {size: common_rates(main, size, scale)[:RATES] for size in chosen}
        grid = {"batch_sizes": chosen, "rates": rates, "seeds": seeds(scale)}
        budget = Examples(round(ONE_PASS * (facts["fresh"].train_size or 1)))
        checked = (1, 16, count // 10, count // 4, count // 2, count) if scale == "full" else tuple(every)
        moments = BatchMoments(batch_sizes=checked, draws=400 if scale == "full" else 200)
        table = runs(
            main, batch_sizes=[64], rates=[0.25], seeds=range(4 if scale == "full" else 1), measurements=[moments],
            budget=Steps(100 if scale == "full" else 1),
        )  # fmt: skip
        return {
            TABLE: table,
            REUSED: runs(main, budget=common_budget(scale), **grid),
            FRESH: runs(facts["fresh"], budget=budget, **grid),
            **sampling_arms(facts[ROLE], scale),
        }

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        reused, fresh = (self._tests(exhibit, *place) for place in ((REUSED, "main"), (FRESH, "fresh")))
        lost, lost_fresh = (_deficit(tests) for tests in (reused, fresh))
        facts = exhibit.facts["fresh"]
        unit = f"test {facts.metric}"
        half = {seed: self.left * value for seed, value in lost.items()}
        samplings = Samplings(exhibit)
        parts = (
            direction(
                "less than half of the large-batch deficit is left on fresh data", differences(half, lost_fresh),
                unit=unit, definition="half of the deficit on re-used data less the deficit on fresh data",
            ),
            equivalence(
                "no large-batch deficit on fresh data", np.array(list(lost_fresh.values())),
                margin=accuracy_margin(facts.test_size), unit=unit, definition=self._deficit_means("fresh"),
            ),
            direction(
                "a large-batch deficit on re-used data", np.array(list(lost.values())), unit=unit,
                definition=self._deficit_means("re-used"),
            ),
            samplings.trend(),
            self._table(exhibit),
            samplings.whole_set(RESHUFFLED, counts=False),
            samplings.whole_set(PARTITIONED, counts=False),
        )  # fmt: skip
        lines = tuple(
            line(name, list(tests), stacked(tests))
            for name, tests in ((REUSED, reused), (FRESH, fresh)) if any(tests.values())
        )  # fmt: skip
        figure = Figure("batch size", f"{unit} at equal examples and updates", lines) if lines else None
        return verdict(self.id, exhibit, parts, outcome=_outcome(parts), figure=figure)

    def _deficit_means(self, kind: str) -> str:
        return f"{kind} data: test metric at the smallest batch size tried less at the largest, at equal examples"

    def _tests(self, exhibit: Exhibit, arm: str, role: str) -> dict[float, BySeed]:
        """Return the test metric, higher is better, by batch size and seed, when both kinds of data are read."""
        grid = arm_grid(exhibit, arm, role=role)
        facts = grid.facts
        amount = self.passes[exhibit.scale] * (exhibit.facts["main"].train_size or 1)
        select, test = (at("examples", amount, f"{split}_{facts.metric}", facts)
                        for split in (facts.selection_split, "test"))  # fmt: skip
        sign = 1.0 if facts.better == "above" else -1.0
        return {
            size: tuned_by_seed(grid, size, score=worse(grid, select), read=lambda track: sign * test(track))
            for size in sorted({run.batch_size for run in exhibit.arms[arm]})
        }

    def _table(self, exhibit: Exhibit) -> Part:
        """Return the check of every variance and correlation against its prediction, all at once."""
        name, unit = "variances and correlations of batch gradients are those of finite-population sampling", ""
        definition = "largest difference of measured and predicted, in units of the variance (correlation: as it is)"
        cells = _cells(exhibit)
        ratio = float(-ndtri(self.wrong / 2 / max(len(cells), 1)))
        threshold = f"every difference within {ratio:.2f} standard errors ({1 - self.wrong:.0%} for all together)"
        if not cells:
            return nothing(name, Kind.EXACT, "no moments were measured", unit, definition, threshold)
        apart = {cell: (abs(mean) - self.rounding) / max(error, 1e-12) for cell, (mean, error) in cells.items()}
        worst = max(apart, key=lambda cell: apart[cell])
        mean, error = cells[worst]
        if (blurred := max(error for _, error in cells.values())) > self.precise:
            reason = f"a standard error of {blurred:.2g}, above {self.precise:g}: too few draws"
            return nothing(name, Kind.EXACT, reason, unit, definition, threshold)
        effect = Estimate(
            mean, mean - ratio * error, mean + ratio * error, 1 - self.wrong, len(cells), unit, "normal, Bonferroni",
            f"{definition}: {worst}",
        )  # fmt: skip
        return exact(name, holds=apart[worst] <= ratio, effect=effect, threshold=threshold)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = 80.0 if world == "silent" else 1.0
        true = world == "true"
        by_seed = 0.004 * noise * generator.normal(size=64)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            if arm == TABLE:
                return _imagined_moments(run, looks, noise, generator)
            own = by_seed[run.seed] + 0.0015 * noise * generator.normal()
            updates = 1 / (1 + looks / 4)  # what is still to be learned
            missed = 0.01 * np.log2(run.learning_rate / 0.25) ** 2
            if arm in (REUSED, FRESH):
                lost = 0.06 * np.log2(run.batch_size / 16) / 7 * (0.0 if true and arm == FRESH else 1.0)
                top = 0.96 if arm == FRESH else 0.93
            else:
                gain = 0.003 * (np.log2(run.batch_size) - 5) if true and arm == WITH else 0.0
                lost, top = -gain, 0.86
            test = top - lost - missed - 0.3 * updates * (looks < 20) + own
            return {"train_loss": 2 * updates, "validation_accuracy": test, "test_accuracy": test}

        return values


def _deficit(tests: Mapping[float, BySeed]) -> BySeed:
    """Return by how much the smallest batch size tests better than the largest, by seed."""
    if len(tests) < 2:
        return {}
    small, large = tests[min(tests)], tests[max(tests)]
    return {seed: small[seed] - large[seed] for seed in sorted(small.keys() & large.keys())}


def _outcome(parts: tuple[Part, ...]) -> Outcome:
    """Return the whole: decided by fresh data where re-used data show a deficit; supported only if all agrees."""
    half, none_left, deficit, samplings, table = (part.outcome for part in parts[:5])
    if deficit is not Outcome.SUPPORTED:
        return Outcome.INCONCLUSIVE
    if half is Outcome.REFUTED:
        return Outcome.REFUTED
    rest = (half, samplings, table)
    agreed = none_left is Outcome.EQUIVALENT and all(one is Outcome.SUPPORTED for one in rest)
    return Outcome.SUPPORTED if agreed else Outcome.INCONCLUSIVE


def _cells(exhibit: Exhibit) -> Cells:
    """Return measured less predicted and its standard error for every quantity, over looks and seeds."""
    tracks = arm_tracks(exhibit)
    found: dict[str, list[tuple[float, float]]] = {}
    for run in exhibit.arms[TABLE]:
        values = tracks[run.id].values if run.id in tracks else {}
        for name, measured in values.items():
            kind, _, cell = name.partition("[")
            if kind in ARROWS:
                errors = values[f"{kind}_error[{cell}"]
                prediction = ARROWS[kind]
                expected = np.ones(len(measured)) if prediction is None else values[f"{prediction}[{cell}"]
                seen = np.isfinite(measured) & np.isfinite(errors)
                found.setdefault(name, []).extend(zip((measured - expected)[seen], errors[seen], strict=True))
    means = {name: np.array(pairs) for name, pairs in found.items() if pairs}
    return {
        name: (float(one[:, 0].mean()), math.sqrt((one[:, 1] ** 2).sum()) / len(one)) for name, one in means.items()
    }


def _imagined_moments(
    run: Run, looks: np.ndarray, noise: float, generator: np.random.Generator
) -> dict[str, np.ndarray | float]:  # fmt: skip
    """Return moments that agree with their predictions: the table is a theorem, in whatever world."""
    found: dict[str, np.ndarray | float] = {}
    error = 0.015 * noise
    for name in run.measurements[0].quantities:
        kind, _, cell = name.partition("[")
        if kind in ARROWS:
            expected = 1.0 if ARROWS[kind] is None else 0.1
            found[name] = expected + error * generator.normal(size=len(looks))
            found[f"{kind}_error[{cell}"] = error
            found[f"{kind}_predicted[{cell}"] = expected
    return found
