"""Keskar et al. (2016): a threshold of the batch size, and large batches that start from a small batch's iterate."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.stats import spearmanr
from typing_extensions import override

from ..bed import Bed
from ..budgets.epochs import Epochs
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Part, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.parts import accuracy_margin, direction, preferred, verdict
from ..judging.protocol import runs, seeds
from ..judging.reading import Reader, arm_grid, at_end, last
from ..judging.scaled import turned
from ..judging.two_regimes import EPOCHS, POLICY, RATE, by_seed, regime, regime_bed, regime_sizes
from ..measurements.keskar_sharpness import KeskarSharpness
from ..optimizers.adam import Adam
from ..plan import Plan, Run
from ..samplings.growing import Growing
from ..schedules.milestones import Milestones
from ..statistics.information import aicc

SOURCE = "Keskar, Mudigere, Nocedal, Smelyanskiy and Tang (2016), arXiv:1609.04836"
SHARPNESS = "keskar_sharpness[full,0.001]"
HALVINGS = 7  # batch sizes, from half of the training set down
UPDATES = {"full": 2000, "smoke": 60}


def _sharpness(scale: Scale) -> KeskarSharpness:
    return KeskarSharpness(examples=500 if scale == "full" else 64, epsilons=(1e-3,), per_decade=0)


@final
@dataclass(frozen=True, eq=False)
class _Broken:
    """A line over log2 batch size that breaks once, with an intercept for every seed, against one that does not.

    Attributes:
        place: Index of the batch size at which it breaks.
        delta: AICc of the straight line less that of the broken one.
    """

    place: int
    delta: float


def broken(logs: np.ndarray, values: np.ndarray) -> _Broken | None:
    """Return the least-squares line that breaks at one of the inner points; None with fewer than three points or two seeds.

    Args:
        logs: Shape (point,), ascending.
        values: Shape (seed, point), finite.
    """
    seeds_, points = values.shape
    if points < 3 or seeds_ < 2 or not np.isfinite(values).all():
        return None
    centred = values - values.mean(1, keepdims=True)
    straight = (logs - logs.mean())[:, None]
    designs = [np.column_stack([straight, np.maximum(logs - at, 0)]) for at in logs[1:-1]]
    squares = [_unexplained(one - one.mean(0), centred) for one in designs]
    best = int(np.argmin(squares))
    line_ = aicc(_unexplained(straight, centred), values.size, seeds_ + 1)
    return _Broken(best + 1, line_ - aicc(squares[best], values.size, seeds_ + 3))


def _unexplained(design: np.ndarray, centred: np.ndarray) -> float:
    """Return the squares that one set of coefficients for all seeds leaves of rows (seed, point) centred by seed."""
    mean = centred.mean(0)
    fitted = design @ np.linalg.lstsq(design, mean, rcond=None)[0]
    return float(((centred - fitted) ** 2).sum())


@final
class BatchSizeThreshold(Claim):
    """Test accuracy over the batch size, from half of the training set downwards, at equal epochs and at equal updates.

    The threshold is where a broken line fits best, an intercept for every seed. What falls beyond it is the accuracy from
    there to the largest batch. At equal updates the threshold is expected to move or to vanish (HOF-1); that is reported.
    """

    id = "KES-4"
    statement = "Beyond a threshold of the batch size test accuracy falls and sharpness rises."
    source = SOURCE + ", Figure 4"
    about = "generalization"
    kinds = (Kind.MODEL, Kind.DIRECTION)
    budget = "equal epochs (100); equal updates (2,000) reported"
    policy = POLICY
    published = "at 100 epochs accuracy falls beyond batches of about 15,000 (F2) and 500 (C1) (paper)"

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": regime_bed(scale)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        main = facts["main"]
        half = max(1, (main.train_size or 1024) // 2)
        sizes = [half // 2**power for power in range(HALVINGS) if half // 2**power > 1]
        asked = {
            "batch_sizes": sizes if scale == "full" else sizes[:5:2], "rates": [RATE], "seeds": seeds(scale),
            "optimizer": Adam(),
        }  # fmt: skip
        return {
            "epochs": runs(main, budget=Epochs(EPOCHS[scale]), measurements=(_sharpness(scale),), **asked),
            "updates": runs(main, budget=Steps(UPDATES[scale]), **asked),
        }

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        quantity = f"test_{facts.metric}"
        sizes, tests = _table(exhibit, "epochs", at_end(quantity))
        other_sizes, others = _table(exhibit, "updates", at_end(quantity))
        logs = np.log2(sizes)
        found = broken(logs, turned(facts) * tests)
        later = broken(np.log2(other_sizes), turned(facts) * others)
        place = found.place if found else 0
        lost = turned(facts) * (tests[:, place] - tests[:, -1]) if found else np.array([])
        _, sharp = _table(exhibit, "epochs", last(SHARPNESS))
        rise = np.log10(sharp[:, -1] / sharp[:, place]) if found and sharp.shape[1] == len(sizes) else np.array([])
        told = {"definition": f"test {facts.metric} over log2 batch size, an intercept for every seed"}
        rival = "a straight line"
        parts = [
            _open_if_not(preferred("a line that breaks fits better", found.delta if found else np.nan, rival, **told)),
            direction("the metric falls beyond the break", lost, unit=f"test {facts.metric}",
                      margin=accuracy_margin(facts.test_size),
                      definition=f"test {facts.metric} at the break less that of the largest batch"),
            direction("sharpness rises beyond it", rise, unit="log10 ratio",
                      definition="log10 of Metric 2.1 of the largest batch over that at the break"),
            _open_if_not(preferred("a line that breaks fits better at equal updates", later.delta if later else np.nan,
                                   rival, counts=False, **told)),
        ]  # fmt: skip
        lines = tuple(
            line(words, list(there), values)
            for words, there, values in (("equal epochs", sizes, tests), ("equal updates", other_sizes, others))
            if values.size
        )
        notes = [f"the line breaks at batch size {sizes[place]:.0f}"] if found else []
        if later:
            notes.append(f"at equal updates it breaks at batch size {other_sizes[later.place]:.0f}")
        return verdict(self.id, exhibit, parts, notes=notes, figure=Figure("batch size", f"test {facts.metric}", lines))

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = {"true": 0.003, "false": 0.0015, "silent": 0.05}[world]
        by_seed_ = generator.normal(size=64)
        threshold = 7.0  # log2

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            log = np.log2(run.batch_size)
            lost = 0.012 * max(log - threshold, 0) if arm == "epochs" and world != "false" else 0.0
            test = 0.92 - lost + noise * (by_seed_[run.seed] + generator.normal())
            sharp = 10 ** (1 + (0.3 * max(log - threshold, 0) if world != "false" else 0.0) + 0.1 * generator.normal())
            return {"test_accuracy": test, "train_loss": 0.01, SHARPNESS: sharp}

        return values


def _open_if_not(part: Part) -> Part:
    """Return a comparison of nested formulas: without a break the straight line wins by its fewer numbers alone."""
    outcome = Outcome.SUPPORTED if part.outcome is Outcome.SUPPORTED else Outcome.INCONCLUSIVE
    return dataclasses.replace(part, outcome=outcome, threshold=f"{part.threshold}; less leaves it open")


def _table(exhibit: Exhibit, arm: str, read: Reader) -> tuple[np.ndarray, np.ndarray]:
    """Return batch sizes, and `read` of the seeds that have it at each of them, shape (seed, batch size)."""
    grid = arm_grid(exhibit, arm)
    sizes = grid.batch_sizes()
    if not sizes:
        return np.array([]), np.empty((0, 0))
    values = np.stack([grid.table(size, read)[0] for size in sizes], 1)
    return np.array(sizes, dtype=float), values[np.isfinite(values).all(1)]


WARM = {"full": (0, 1, 2, 5, 10, 20, 50), "smoke": (0, 1, 2, 4)}  # epochs


@final
class WarmStartRepairsLargeBatches(Claim):
    """Some epochs with the small batch, then 100 with the large one: does the end get better the longer the start?

    Both parts of a run have the same learning rate, and Adam's moments are carried over. A longer start is also more
    training; the published protocol has no control for it, and this one has none either.
    """

    id = "KES-5"
    statement = "A large batch that starts from a small batch's iterate generalizes the better the later it starts."
    source = SOURCE + ", Figure 5"
    about = "generalization"
    kinds = (Kind.TREND, Kind.DIRECTION)
    budget = "equal epochs (100) after the start"
    policy = POLICY
    published = "figures alone (paper)"

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": regime_bed(scale)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        main = facts["main"]
        small, large = regime_sizes(main)
        share, then = small / large, EPOCHS[scale]
        measured = (_sharpness(scale),)
        found = {_arm(0): regime(main, scale, large, measurements=measured)}
        size = main.train_size or large
        whole = size // small * small  # examples of an epoch of small batches, without those left over
        for warm in WARM[scale][1:]:
            found[_arm(warm)] = runs(
                main, batch_sizes=[large], rates=[RATE / share], seeds=seeds(scale), budget=Epochs(warm + then),
                optimizer=Adam(), sampling=Growing((warm,), (share, 1.0)), measurements=measured,
                schedule=Milestones(fractions=(warm * whole / ((warm + then) * size),), drop=share),
            )  # fmt: skip
        return found

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        warms = [warm for warm in WARM[exhibit.scale] if _arm(warm) in exhibit.arms]
        tests, sharp = (self._table(exhibit, warms, read) for read in (at_end(f"test_{facts.metric}"), last(SHARPNESS)))
        good = turned(facts) * tests
        told = {"unit": "rank correlation"}
        parts = [
            direction("the later the start, the better the test", _trends(warms, good), **told,
                      definition=f"Spearman correlation of the start's epochs and test {facts.metric}, by seed"),
            direction("the latest start is better than none", good[:, -1] - good[:, 0] if good.size else good[:, 0],
                      margin=accuracy_margin(facts.test_size), unit=f"test {facts.metric}",
                      definition=f"test {facts.metric} with the longest start less that without"),
            direction("the later the start, the flatter the end", -_trends(warms, sharp), **told,
                      definition="minus the Spearman correlation of the start's epochs and Metric 2.1, by seed"),
        ]  # fmt: skip
        lines = (line("large batch after the start", [warm + 1 for warm in warms], tests),) if tests.size else ()
        figure = Figure("epochs with the small batch, plus 1", f"test {facts.metric}", lines)
        return verdict(self.id, exhibit, parts, figure=figure)

    def _table(self, exhibit: Exhibit, warms: list[int], read: Reader) -> np.ndarray:
        """Return `read` for each seed that every arm has, shape (seed, arm)."""
        columns = [by_seed(exhibit, _arm(warm), read) for warm in warms]
        common = sorted(set.intersection(*(set(one) for one in columns)))
        return np.array([[one[seed] for one in columns] for seed in common]).reshape(len(common), len(warms))

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        gain, noise = 0.0 if world == "false" else 0.003, 0.05 if world == "silent" else 0.002
        by_seed_ = generator.normal(size=64)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            place = WARM["full"].index(int(arm.split()[0]))
            test = 0.91 + gain * place + noise * (by_seed_[run.seed] + generator.normal())
            spread = 2.0 if world == "silent" else 0.1
            sharp = 10 ** (2 - 0.15 * place * (world != "false") + spread * generator.normal())
            return {"test_accuracy": test, "train_loss": 0.01, SHARPNESS: sharp}

        return values


def _arm(warm: int) -> str:
    return f"{warm} epochs"


def _trends(warms: list[int], values: np.ndarray) -> np.ndarray:
    """Return the rank correlation of each row with the epochs; NaN where a row does not vary."""
    return np.array([spearmanr(warms, row).statistic if np.ptp(row) > 0 else np.nan for row in values])
