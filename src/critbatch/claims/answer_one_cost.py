"""QA-5 and QA-6: the first answer to the founding question. What splitting a batch costs, and how exact SGD is at the end."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Grid, Track
from ..bed import Bed
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Part, Scale, Verdict, World
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.parts import LEVEL, accuracy_margin, band, direction, equivalence, slope_estimate, verdict
from ..judging.protocol import runs, seeds
from ..judging.reading import arm_grid, arm_tracks, at_end, table
from ..measurements.excess_loss import ExcessLoss
from ..measurements.step_time import StepTime
from ..plan import Plan, Run
from ..samplings.without_replacement import WithoutReplacement
from ..statistics.means import mean_estimate

TINY = 1e-12  # below any excess that double precision resolves
NOTHING = np.array([np.nan])
FEWEST_SIZES = 3  # that show whether a line holds


@final
class SplittingCostsTheSame(Claim):
    """The part of a step's time that does not depend on the batch size: a/(a + bB) of t(B) = a + bB.

    Judged at the batch size of 32, the smallest in everyday use; what is said of other sizes, and of batches gone through
    example by example, is reported beside it. Below about a/b, the batch size at which the machine's overhead is half of
    a step, it must fail. It is a statement on this machine and this model: times of plain PyTorch steps, not of the
    compiled engine.
    """

    id = "QA-5"
    statement = "Splitting a batch into smaller ones takes about the same processing resources."
    source = "first answer to the founding question"
    about = "hardware"
    kinds = (Kind.MODEL,)
    budget = "one pass over the same examples"
    policy = "none: the time of a step does not depend on the learning rate"

    SPLIT_TO = 32
    LIMIT = 0.2  # of a step, that may be overhead
    MISFIT = 0.25  # relative, root mean square, above which the line says little

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        most = facts["main"].train_size or 1024
        powers = [2**power for power in range(0, 12, 1 if scale == "full" else 3) if 2**power < most]
        singles = [size for size in powers if size <= (64 if scale == "full" else 8)]
        whole = sorted({*powers, self.SPLIT_TO, min(most, 2048)} if most > self.SPLIT_TO else {*powers, most})
        timing = StepTime(batch_sizes=tuple(whole), looped=tuple(singles), rounds=15 if scale == "full" else 3)
        return {
            "timing": runs(
                facts["main"], batch_sizes=[min(16, most)], rates=[2.0**-10], seeds=seeds(scale), budget=Steps(1),
                measurements=[timing],
            )
        }  # fmt: skip

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        whole, looped = (_times(exhibit, prefix) for prefix in ("step_seconds", "looped_step_seconds"))
        split = max((size for size in whole[0] if size <= self.SPLIT_TO), default=self.SPLIT_TO)
        split_singles = max((size for size in looped[0] if size <= self.SPLIT_TO), default=self.SPLIT_TO)
        parts = [
            self._overhead(whole, split, "with vectorised kernels", counts=True),
            self._overhead(looped, split_singles, "example by example", counts=False),
            *(self._overhead(whole, size, "with vectorised kernels", counts=False) for size in whole[0][::2]
              if size != split),
            self._misfit(whole),
        ]  # fmt: skip
        lines = tuple(
            line(name, list(sizes), seconds / np.array(sizes), logarithmic=True)
            for name, (sizes, seconds) in (("as one tensor", whole), ("example by example", looped))
            if len(sizes) and len(seconds)
        )
        figure = Figure("batch size", "seconds per example", lines, log_y=True)
        return verdict(self.id, exhibit, parts, figure=figure, notes=_knee(whole))

    def _overhead(self, times: "Times", size: int, how: str, *, counts: bool) -> Part:
        values = np.array([a / (a + b * size) for a, b in _lines(times)])
        unit, definition = (
            "of a step",
            f"a/(a + bB) at B = {size}, of the line t = a + bB through median step times, {how}",
        )
        found = mean_estimate(values, unit=unit, definition=definition, level=LEVEL)
        if len(values) < 2:
            found = Estimate.missing("fewer than two seeds were timed", unit=unit, definition=definition)
        name = f"overhead of a step of {size} examples {how}"
        return band(name, found, -np.inf, self.LIMIT, kind=Kind.MODEL, counts=counts)

    def _misfit(self, times: "Times") -> Part:
        sizes, seconds = times
        fitted = [a + b * np.array(sizes) for a, b in _lines(times)]
        kept = seconds[np.isfinite(seconds).all(1)] if len(seconds) else seconds
        values = np.array([np.sqrt(((one / row - 1) ** 2).mean()) for one, row in zip(fitted, kept, strict=True)])
        found = mean_estimate(
            values, unit="of a step", level=LEVEL,
            definition="root mean square relative distance of median step times from the line",
        )  # fmt: skip
        return band("distance from the line", found, -np.inf, self.MISFIT, kind=Kind.MODEL, counts=False)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        knee = {"true": 2.0, "false": 40.0, "silent": 6.0}[world]  # examples
        noise = {"true": 0.08, "false": 0.08, "silent": 1.2}[world]
        load = np.exp(generator.normal(0, noise, size=64))

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray]:
            (timing,) = run.measurements
            assert isinstance(timing, StepTime)
            found = {}
            for name, sizes, overhead in (
                (timing.whole, timing.batch_sizes, knee), (timing.single, timing.looped, 0.05),
            ):  # fmt: skip
                for size in sizes:
                    jitter = np.exp(generator.normal(0, noise, size=len(looks)))
                    found[name(size)] = 4e-6 * (overhead + size) * load[run.seed] * jitter
            return {"train_loss": np.ones(len(looks)), **found}

        return values


Times = tuple[list[int], np.ndarray]  # batch sizes, and seconds with a row for each seed


def _times(exhibit: Exhibit, prefix: str) -> Times:
    """Return the step times of one kind, averaged over looks; sizes that no seed timed are left out."""
    tracks = [one for one in _by_seed(exhibit, "timing") if one.completed]
    names = {name for one in tracks for name in one.values if name.startswith(f"{prefix}[")}
    sizes = sorted(int(name.rpartition("=")[2].rstrip("]")) for name in names)
    rows = [[_mean(one.values.get(f"{prefix}[B={size}]", NOTHING)) for size in sizes] for one in tracks]
    return sizes, np.array(rows).reshape(len(tracks), len(sizes))


def _by_seed(exhibit: Exhibit, arm: str) -> list[Track]:
    looks = arm_tracks(exhibit)
    return [looks[run.id] for run in exhibit.arms[arm] if run.id in looks]


def _lines(times: Times) -> list[tuple[float, float]]:
    """Return a and b of t = a + bB for every seed whose times are all there: relative errors, least squares."""
    sizes, seconds = times
    if len(sizes) < FEWEST_SIZES:
        return []
    columns = np.stack([np.ones(len(sizes)), np.array(sizes, dtype=float)], axis=1)
    found = []
    for row in seconds[np.isfinite(seconds).all(1)]:
        a, b = np.linalg.lstsq(columns / row[:, None], np.ones(len(sizes)), rcond=None)[0]
        found.append((float(a), float(b)))
    return found


def _knee(times: Times) -> list[str]:
    """Return a note on the batch size at which half of a step is overhead."""
    knees = np.array([a / b for a, b in _lines(times) if a > 0 and b > 0])
    if len(knees) < 2:
        return []
    found = mean_estimate(knees, unit="examples", definition="a/b", logarithmic=True)
    return [f"hardware batch size a/b: {found.brief()} examples; from 4 a/b on overhead is below 20 %"]


@final
class LessExactButAsAccurate(Claim):
    """The noise floor of SGD at a constant rate, and whether it shows in the test accuracy.

    On logistic regression with an L2 penalty the optimum is known exactly (L-BFGS in double precision), and theory has
    the excess of the objective proportional to rate/B for small noise. Batches are drawn independently of each other
    there, as theory has them; the whole training set is then gradient descent without noise. A network with weight decay
    is trained beside it for the second half of the claim. Strengths and rates were set so that gradient descent comes to
    rest within the budget.
    """

    id = "QA-6"
    statement = "At its end SGD is less exact than gradient descent, without an effect on the test accuracy."
    source = "first answer to the founding question"
    about = "optimization"
    kinds = (Kind.TREND, Kind.EQUIVALENCE)
    budget = "equal updates (10,000 of the linear model, 3,000 of the network)"
    policy = "one constant rate for all batch sizes: 1/32 for the linear model, 1/8 for the network"
    why_not_yours = "It needs the exact optimum of a convex objective, which a model of your own has not in general."

    BATCH = 32  # of the SGD whose test accuracy decides
    SMALL = 8  # is told beside it
    SLOPE = (-1.3, -0.7)  # of log excess on log batch size; theory: -1
    STANDS_OUT = 3.0  # times gradient descent's excess, that an excess must be to be noise
    LINEAR: ClassVar[Mapping[str, int]] = {"full": 10_000, "smoke": 400}  # updates
    NETWORK: ClassVar[Mapping[str, int]] = {"full": 3000, "smoke": 200}
    RATES: ClassVar[Mapping[str, float]] = {"linear": 1 / 32, "network": 1 / 8}

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        if scale == "full":
            return {"linear": Bed(hidden=(), l2=1e-2), "network": Bed(l2=3e-3)}
        small = {"data": "digits", "train": 1024, "side": 8}
        return {"linear": Bed(hidden=(), l2=1e-2, **small), "network": Bed(hidden=(32,), l2=3e-3, **small)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        whole = {role: one.train_size or 1024 for role, one in facts.items()}
        noisy = [2, 8, 32, 128] if scale == "full" else [8, 32]
        excess = [ExcessLoss(per_decade=12)]

        def plan(role: str, sizes: Sequence[int], *, independent: bool) -> Plan:
            updates = (self.LINEAR if role == "linear" else self.NETWORK)[scale]
            return runs(
                facts[role], batch_sizes=sizes, rates=[self.RATES[role]], seeds=seeds(scale), budget=Steps(updates),
                measurements=excess if role == "linear" else (),
                sampling=WithoutReplacement() if independent else None,
            )  # fmt: skip

        found = {
            "linear": plan("linear", [*noisy, whole["linear"]], independent=True),
            "network": plan("network", ([8, 32] if scale == "full" else [32]) + [whole["network"]], independent=False),
        }
        return found | ({"shuffled": plan("linear", noisy, independent=False)} if scale == "full" else {})

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        linear = arm_grid(exhibit, "linear", role="linear")
        most = exhibit.facts["linear"].train_size or 1024
        rest = _mean(linear.table(most, _floor)) if most in linear.tracks else np.inf
        parts = [
            self._slope("excess falls as 1/B", linear, rest, counts=True),
            *self._equal(exhibit, "linear", self.BATCH, counts=True),
            *self._equal(exhibit, "network", self.BATCH, counts=True),
            *self._equal(exhibit, "linear", self.SMALL, counts=False),
            *self._equal(exhibit, "network", self.SMALL, counts=False),
            self._less_exact(linear, most),
        ]
        if "shuffled" in exhibit.arms:
            shuffled = arm_grid(exhibit, "shuffled", role="linear")
            parts.append(self._slope("excess falls as 1/B with shuffled epochs", shuffled, rest, counts=False))
        sizes = linear.batch_sizes()
        values = table(linear, sizes, lambda size: linear.table(size, _floor)[0])
        drawn = (line("independent batches", sizes, np.where(values > 0, values, np.nan), logarithmic=True),)
        figure = Figure("batch size", "training objective over its optimum", drawn, log_y=True)
        return verdict(self.id, exhibit, parts, figure=figure)

    def _slope(self, name: str, grid: Grid, rest: float, *, counts: bool) -> Part:
        """Return the test of the slope, over the batch sizes whose excess stands out from what is left without noise."""
        floors = {size: _mean(grid.table(size, _floor)) for size in grid.batch_sizes()}
        sizes = [size for size, floor in floors.items() if floor > self.STANDS_OUT * rest]
        logs = table(grid, sizes, lambda size: np.log(np.maximum(grid.table(size, _floor)[0], TINY)))
        found = slope_estimate(
            np.log(np.array(sizes, dtype=float)), logs, unit="",
            definition="slope of log excess objective (mean over the last half of the updates) on log batch size",
        )  # fmt: skip
        return band(name, found, *self.SLOPE, counts=counts)

    def _equal(self, exhibit: Exhibit, role: str, size: int, *, counts: bool) -> list[Part]:
        grid, facts = arm_grid(exhibit, role, role=role), exhibit.facts[role]
        most = facts.train_size or 1024
        there = size in grid.tracks and most in grid.tracks
        if not (there or counts):
            return []
        read = at_end("test_accuracy")
        found = grid.table(size, read)[0] - grid.table(most, read)[0] if there else np.array([])
        return [
            equivalence(
                f"test accuracy of the {role if role == 'network' else 'linear model'} at B = {size} is that of gradient descent",
                found, margin=accuracy_margin(facts.test_size), unit="test accuracy", counts=counts,
                definition=f"test accuracy at batch size {size} less that of the whole set, at the end, same seeds",
            )
        ]  # fmt: skip

    def _less_exact(self, grid: Grid, most: int) -> Part:
        there = self.BATCH in grid.tracks and most in grid.tracks
        logs = [np.log(np.maximum(grid.table(size, _floor)[0], TINY)) for size in (self.BATCH, most)] if there else []
        return direction(
            f"SGD at B = {self.BATCH} ends above gradient descent", logs[0] - logs[1] if there else np.array([]),
            unit="log excess", definition="difference of log excess objective at the end", counts=False,
        )  # fmt: skip

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        power = {"true": -1.0, "false": -0.3, "silent": -1.0}[world]
        spread = {"true": 0.25, "false": 0.25, "silent": 3.0}[world]
        scatter = {"true": 0.002, "false": 0.002, "silent": 0.03}[world]
        loss = {"true": 0.0, "false": 0.03, "silent": 0.0}[world]  # of accuracy, by noise
        shared = generator.normal(size=(64, 2))

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            exact = run.batch_size > 1000
            floor = 0.0 if exact else 0.3 * run.batch_size**power
            floor *= np.exp(spread * (0.5 * shared[run.seed, 0] + generator.normal()))
            jitter = np.exp(generator.normal(0, 0.3, size=len(looks)))
            excess = 2 * np.exp(-looks / 400) + floor * jitter + 1e-9
            own = generator.normal(size=len(looks)) * scatter
            test = 0.89 + scatter * shared[run.seed, 1] + own - (0 if exact else loss * run.batch_size**-0.2)
            found = {"train_loss": 0.3 + excess, "test_accuracy": test, "validation_accuracy": test}
            return found | ({} if arm == "network" else {"excess_objective": excess})

        return values


def _mean(values: np.ndarray) -> float:
    """Return the mean of the finite values, NaN if there are none."""
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else np.nan


def _floor(track: Track) -> float:
    """Return the mean excess over the last half of a run's updates."""
    values = track.values.get("excess_objective")
    if values is None or not track.completed:
        return np.nan
    late = values[(track.step >= track.step[-1] / 2) & np.isfinite(values)]
    return float(late.mean()) if len(late) else np.nan
