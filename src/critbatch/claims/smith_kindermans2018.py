"""Smith, Kindermans, Ying and Le (2018): raise the batch size instead of decaying the learning rate."""

import math
from collections.abc import Mapping
from functools import partial
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Grid, Track
from ..analysis.readings import position
from ..budgets.epochs import Epochs
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Part, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.parts import direction, equivalence, metric_margin, verdict
from ..judging.protocol import runs, seeds
from ..judging.raising import EPOCHS, LIMIT, falling, ladder, made_up, of_size, raised, tuned_first
from ..judging.reading import arm_grid
from ..judging.scaled import all_equal, base_rate, ends, largest_kept, tuning, turned
from ..optimizers.sgd import SGD
from ..plan import Plan
from ..schedules.constant import Constant
from ..statistics.censoring import smooth

SOURCE = "Smith, Kindermans, Ying and Le (2018), arXiv:1711.00489"
SCORES = (
    "Wide ResNet on CIFAR-10, updates and accuracy in %: decaying the rate ~80,000 and 94.3, raising the batch size "
    "~29,000 and 94.4, both with a larger rate 94.5, with a larger momentum besides < 2,500 and 93.3 (second-hand)"
)
SLOW, FAST, TIMES = 0.9, 0.98, 5  # momenta, and how much larger 1/(1 - momentum) is at the second
BASE = 50  # part of the training set that is the batch size at the first momentum
SETTLED = 0.1  # share of the epochs after which training curves are compared
SHOWN = 16  # places on a training curve that is drawn
TINY = 1e-12  # below any loss that is told apart from 0


@final
class RaiseInsteadOfDecay(Claim):
    """Decay the rate, raise the batch size, or raise it once and then decay; the first two with momentum 0.9 as well.

    An arm that does neither is reported: if it ends like the others, the changes had no work left to do. Nesterov
    momentum and Adam are left out.
    """

    id = "SKYL-1"
    statement = (
        "Raising the batch size instead of decaying the learning rate gives the same training curve and the same test "
        "accuracy, in fewer updates."
    )
    source = SOURCE
    about = "optimization"
    kinds = (Kind.EQUIVALENCE, Kind.DIRECTION)
    budget = "equal epochs (60, with a factor of 4 at 50, 75 and 90 %)"
    policy = "tuned at the first batch size with a decaying rate, on validation; the same first rate for all"
    published = SCORES

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"tuning": tuned_first(facts["main"], scale)}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        facts, scale, rate = exhibit.facts["main"], exhibit.scale, base_rate(exhibit, "tuning")
        if rate is None:
            return {}
        times = len(ladder(facts, scale)) - 1
        slow = {"rate": rate * (1 - SLOW), "optimizer": SGD(momentum=SLOW)}
        found = {
            "decay": raised(facts, scale, rate, 0),
            "raise": raised(facts, scale, rate, times),
            "neither": of_size(facts, scale, ladder(facts, scale)[0], [rate], schedule=Constant()),
        }
        if scale == "smoke":
            return found
        hybrid = {"hybrid": raised(facts, scale, rate, 1)} if times > 1 else {}
        return found | hybrid | {
            "decay, momentum": raised(facts, scale, times=0, **slow),
            "raise, momentum": raised(facts, scale, times=times, **slow),
        }  # fmt: skip

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        tests = {arm: _end(exhibit, arm) for arm in ("decay", "raise", "hybrid", "neither", *_MOMENTUM)}
        pairs = [("raise", "decay"), ("hybrid", "decay"), ("raise", "hybrid")]
        asked = [pair for pair in pairs if set(pair) <= {"raise", "decay"} or "hybrid" in exhibit.arms]
        told = {
            "margin": metric_margin(facts, tests["decay"]), "unit": f"test {facts.metric}",
            "definition": f"test {facts.metric} at the end, difference of two ways",
        }  # fmt: skip
        parts = [
            all_equal("it tests the same either way", [tests[one] - tests[other] for one, other in asked], **told),
            *(_curve_part(exhibit, arm) for arm in ("raise", "hybrid") if arm == "raise" or arm in exhibit.arms),
        ]
        if "raise, momentum" in exhibit.arms:
            momentum = tests["raise, momentum"] - tests["decay, momentum"]
            parts.append(equivalence("it tests the same with momentum 0.9", momentum, **told))
        gain = turned(facts) * (tests["decay"] - tests["neither"])
        parts.append(direction("decaying the rate helps at all (control)", gain, counts=False, **told))
        shown = [arm for arm in ("decay", "raise", "hybrid", "neither") if arm in exhibit.arms]
        epochs = np.linspace(SETTLED, 1.0, SHOWN) * EPOCHS[exhibit.scale]
        lines = tuple(
            line(arm, epochs.tolist(), np.exp(_curves(exhibit, arm, epochs)), logarithmic=True) for arm in shown
        )
        figure = Figure("epochs", "training loss", lines, log_x=False, log_y=True) if lines else None
        notes = [f"updates, {arm}: {_updates(exhibit, arm):,.0f}" for arm in shown]
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        lag = 0.6 if world == "false" else 0.0
        return made_up(generator, world, lambda arm, run: lag * (arm.startswith("raise") + 0.5 * (arm == "hybrid")))


_MOMENTUM = ("decay, momentum", "raise, momentum")


def _end(exhibit: Exhibit, arm: str) -> np.ndarray:
    """Return the test metric at the end of an arm of one batch size, shape (seed,); NaN where it is missing."""
    found = ends(exhibit, arm, f"test_{exhibit.facts['main'].metric}")
    everyone = {run.seed for plan in exhibit.arms.values() for run in plan}
    return next(iter(found.values()), np.full(len(everyone), np.nan))


def _curves(exhibit: Exhibit, arm: str, places: np.ndarray) -> np.ndarray:
    """Return log training losses at `places` along the epochs, shape (seed, place); no rows where the arm is missing.

    Between looks logarithms are interpolated, linearly in log epochs; NaN for a run that diverged.
    """
    grid = _grid(exhibit, arm)
    if grid is None:
        return np.empty((0, len(places)))
    size = grid.batch_sizes()[0]
    return np.stack([grid.table(size, partial(_log_loss, grid, place))[0] for place in places], 1)


def _log_loss(grid: Grid, place: float, track: Track) -> float:
    if not track.completed:
        return math.nan
    epochs = position(track, "epochs", grid.facts.train_size)
    logs = np.log(np.maximum(smooth(track.values["train_loss"]), TINY))
    return float(np.interp(math.log(place), np.log(np.maximum(epochs, TINY)), logs))


def _grid(exhibit: Exhibit, arm: str) -> Grid | None:
    grid = arm_grid(exhibit, arm) if arm in exhibit.arms else None
    return grid if grid and grid.batch_sizes() else None


def _curve_part(exhibit: Exhibit, arm: str) -> Part:
    """Return the test of "the training curve lies closer to the decaying rate's than two seeds lie to each other".

    Curves are compared where the arm was looked at, which is not often once its batches are large.
    """
    grid, lead = _grid(exhibit, arm), np.array([])
    if grid is not None:
        row = grid.tracks[grid.batch_sizes()[0]]
        longest = max((track for one in row.values() for track in one.values()), key=lambda track: len(track.step))
        places = position(longest, "epochs", grid.facts.train_size)
        places = places[places >= SETTLED * EPOCHS[exhibit.scale]]
        own, base = (_curves(exhibit, one, places) for one in (arm, "decay"))
        if len(own) == len(base) > 1 < len(places):
            widths = np.gradient(places) / np.gradient(places).sum()
            gap = np.abs(own - base) @ widths
            between = (np.abs(base[:, None] - base[None]) @ widths).sum(1) / (len(base) - 1)
            lead = between - gap
    return direction(
        f"the training curve of {arm} differs from decay by less than seeds do", lead, unit="log training loss",
        definition="mean |difference of log training loss| along the epochs: to other seeds, less that to the other way",
    )  # fmt: skip


def _updates(exhibit: Exhibit, arm: str) -> float:
    grid = _grid(exhibit, arm)
    return math.nan if grid is None else float(grid.table(grid.batch_sizes()[0], lambda track: track.step[-1]).mean())


@final
class RateInProportion(Claim):
    """From the first batch size up to a tenth of the training set, with the same decays at the same epochs."""

    id = "SKYL-2"
    statement = (
        "Raising the learning rate in proportion to the batch size keeps the test accuracy, up to about a tenth of the "
        "training set."
    )
    source = SOURCE
    about = "generalization"
    kinds = (Kind.EQUIVALENCE,)
    budget = "equal epochs (60, the rate falls by a factor of 4 at 50, 75 and 90 %)"
    policy = "tuned at the first batch size on validation, then in proportion to the batch size"
    published = SCORES

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"tuning": tuned_first(facts["main"], scale)}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        facts, scale, rate = exhibit.facts["main"], exhibit.scale, base_rate(exhibit, "tuning")
        if rate is None:
            return {}
        first, *others = ladder(facts, scale)
        most = (facts.train_size or 0) // LIMIT
        last = [most] if scale == "full" and most > 1.5 * others[-1] else []
        found = Plan(())
        for size in (first, *others, *last):
            found += of_size(facts, scale, size, [rate * size / first])
        return {"linear": found}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        tests = ends(exhibit, "linear", f"test_{facts.metric}")
        first = ladder(facts, exhibit.scale)[0]
        base = tests.get(first, np.array([]))
        losses = {
            size / first: turned(facts) * (base - row) for size, row in tests.items() if size != first and len(base)
        }
        margin = metric_margin(facts, base)
        part = all_equal(
            "nothing is lost at any batch size up to a tenth of the data", list(losses.values()), margin=margin,
            unit=f"test {facts.metric}", definition=f"test {facts.metric} at batch size {first} less that at the larger one",
        )  # fmt: skip
        kept = largest_kept({round(factor): row for factor, row in losses.items()}, margin)
        notes = [f"the mean loss stays within the margin up to {kept} times the first batch size"] if losses else []
        rows = np.stack([*losses.values()], 1) if losses else np.empty((0, 0))
        figure = Figure(
            f"batch size as a multiple of {first}",
            f"test {facts.metric} lost",
            (line("rate ~ batch size", [*losses], rows),),
        )
        return verdict(self.id, exhibit, [part], figure=figure if losses else None, notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        lag = 0.15 if world == "false" else 0.0
        return made_up(generator, world, lambda arm, run: lag * (arm == "linear") * np.log2(run.batch_size / 2))


@final
class MomentumInProportion(Claim):
    """Momentum 0.9 against 0.98 at five times the batch size, a tenth of the data: the same rate x 1/(1 - momentum) / B."""

    id = "SKYL-3"
    statement = (
        "Raising the momentum, with the batch size in proportion to 1/(1 - momentum), costs a little test accuracy."
    )
    source = SOURCE
    about = "generalization"
    kinds = (Kind.DIRECTION,)
    budget = "equal epochs (60, the rate falls by a factor of 4 at 50, 75 and 90 %)"
    policy = "tuned at momentum 0.9 on validation (seven rates a factor of 2 apart); the same rate at 0.98"
    published = SCORES

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        size = max((facts["main"].train_size or 0) // BASE, 1)
        return {
            "tuning": tuning(
                facts["main"], scale, size, budget=Epochs(EPOCHS[scale]), optimizer=SGD(momentum=SLOW),
                schedule=falling(scale),
            )
        }  # fmt: skip

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        facts, scale, rate = exhibit.facts["main"], exhibit.scale, base_rate(exhibit, "tuning")
        if rate is None:
            return {}
        size = max((facts.train_size or 0) // BASE, 1)
        return {
            name: runs(
                facts, batch_sizes=[size * times], rates=[rate], seeds=seeds(scale), budget=Epochs(EPOCHS[scale]),
                optimizer=SGD(momentum=momentum), schedule=falling(scale),
            )
            for name, times, momentum in (("slow", 1, SLOW), ("fast", TIMES, FAST))
        }  # fmt: skip

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        slow, fast = _end(exhibit, "slow"), _end(exhibit, "fast")
        margin, drop = metric_margin(facts, slow), turned(facts) * (slow - fast)
        told = {
            "unit": f"test {facts.metric}",
            "definition": f"test {facts.metric} at momentum {SLOW} less that at {FAST} with {TIMES} times the batch size",
        }
        parts = [
            direction("the larger momentum tests worse", drop, margin=margin, **told),
            equivalence("but not by more than four margins", drop, margin=4 * margin, counts=False, **told),
        ]
        return verdict(self.id, exhibit, parts)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        lag = 0.0 if world == "false" else 0.4
        return made_up(generator, world, lambda arm, run: lag * (arm == "fast"), silent=40.0)
