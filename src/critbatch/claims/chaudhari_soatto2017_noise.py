"""Chaudhari and Soatto (2017): gradient noise has few directions, SGD goes round in loops, and its noise settles late."""

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Grid
from ..bed import Bed
from ..budget import Budget
from ..budgets.epochs import Epochs
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Line, Outcome, Part, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.parts import LEVEL, all_of, band, direction, verdict
from ..judging.protocol import runs, seeds
from ..judging.reading import arm_grid, last
from ..measurement import Measurement
from ..measurements.noise_covariance import NoiseCovariance
from ..measurements.noise_persistence import NoisePersistence
from ..measurements.steady_state import SteadyState
from ..plan import Plan, Run
from ..statistics.means import mean_estimate

SOURCE = "Chaudhari and Soatto (2017), arXiv:1710.11029"
BATCH, RATE = 32, 0.1
SHARE = 0.05  # of the directions that there could be
TRAINED = {"full": Epochs(100), "smoke": Epochs(4)}
SETTLED = 0.4  # of training
KEPT = 0.5  # of the leading directions: ours
NEAR = 0.1  # of an overlap or of a distance of spectra, both between 0 and 1: ours
FURTHER = {"full": 60, "smoke": 6}
LARGE_BATCH, STEADY_RATE, PENALTY = 50, 0.2, 2e-3
FACTOR = float(np.log(1.5))  # circulations nearer than this to the null's do not matter: ours
DRAWN = ("shuffled", "replacement")
LONG = {
    "full": SteadyState(epochs=5000, burn_in=1000),
    "smoke": SteadyState(epochs=400, burn_in=20, components=2, draws=4),
}


def tiny(scale: Scale, *, l2: float = 0.0, train: int = 2000) -> Bed:
    """Return the source's smallest network, 885 parameters; at smoke scale the digits, which need no data folder.

    Args:
        scale: Of the plan.
        l2: Strength of the penalty.
        train: Training examples, at full scale.
    """
    if scale == "smoke":
        return Bed(data="digits", train=256, hidden=(4,), side=8, classes=5, l2=l2)
    return Bed(train=train, side=7, classes=5, hidden=(16,), l2=l2)


def one_setting(
    facts: TaskFacts, scale: Scale, budget: Budget, measurement: Measurement, *, batch_size: int = BATCH, rate: float = RATE
) -> Plan:  # fmt: skip
    """Return runs by plain SGD at one batch size and rate that are measured."""
    size = min(batch_size, facts.train_size or batch_size)
    return runs(facts, batch_sizes=[size], rates=[rate], seeds=seeds(scale), budget=budget, measurements=(measurement,))


@final
class NoiseHasFewDirections(Claim):
    """CS-1: by the participation ratio, which needs no threshold; ranks, which do, are reported.

    The share is that of the directions that so many examples and parameters could show, min(n - 1, d): with fewer examples
    than parameters a share of d would be small whatever the noise.
    """

    id = "CS-1"
    statement = (
        "Gradient noise is far from isotropic: its covariance has few directions, of as many as there are parameters."
    )
    source = SOURCE
    about = "optimization"
    kinds = (Kind.DIRECTION,)
    budget = "equal epochs (100), read at their end"
    policy = "one rate, 0.1, at batch size 32"
    published = "rank 0.34% to 1.8% of the weights, by a threshold at machine precision (paper)"

    ARMS = ("main", "larger")

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": tiny(scale)} | ({"larger": Bed()} if scale == "full" else {})

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        watched = NoiseCovariance(examples=2000 if scale == "full" else 200)
        return {role: one_setting(one, scale, TRAINED[scale], watched) for role, one in facts.items()}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        parts, lines, notes = [], [], []
        for role in [role for role in self.ARMS if role in exhibit.arms]:
            grid = arm_grid(exhibit, role, role=role)
            read = {name: at_last(grid, f"noise_{name}") for name in (
                "participation_ratio", "participation_ratio_null", "examples", "parameters", "effective_rank",
                "rank[float32]", "rank[float64]",
            )}  # fmt: skip
            most = np.minimum(read["examples"] - 1, read["parameters"])
            ratio = read["participation_ratio"]
            words = {"unit": "share", "definition": "participation ratio over min(n - 1, d) directions, geometric mean"}
            share = mean_estimate(finite(ratio / most), level=LEVEL, logarithmic=True, **words)
            below = direction(
                f"fewer directions than isotropic noise shows ({grid.facts.name})",
                np.log(read["participation_ratio_null"] / ratio), unit="log ratio",
                definition="log of the 1% quantile of the participation ratio of isotropic noise over the ratio found",
            )  # fmt: skip
            parts += [band(f"share of directions ({grid.facts.name})", share, -np.inf, SHARE), below]
            notes += [
                f"{grid.facts.name}: {name} {finite(read[name]).mean():.4g} of {finite(read['parameters']).mean():g} directions"
                for name in ("rank[float32]", "rank[float64]", "effective_rank") if len(finite(read[name]))
            ]  # fmt: skip
            lines += along(grid, "noise_participation_ratio")
        figure = Figure("steps + 1", "participation ratio of the noise covariance", tuple(lines), log_y=True)
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        share, scatter = {"true": (0.015, 0.3), "false": (0.3, 0.1), "silent": (SHARE, 1.5)}[world]

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            parameters, most = (885.0, 885.0) if arm == "main" else (13_258.0, 1999.0)
            ratio = min(share * np.exp(scatter * generator.normal()), 0.6) * most
            return {
                "train_loss": 0.1, "noise_participation_ratio": ratio, "noise_participation_ratio_null": 0.68 * most,
                "noise_examples": 2000.0, "noise_parameters": parameters, "noise_effective_rank": 2 * ratio,
                "noise_rank[float32]": 0.5 * most, "noise_rank[float64]": most,
            }  # fmt: skip

        return values


@final
class SteadyStateGoesRound(Claim):
    """CS-2: loops as broken detailed balance, in the four leading principal components, one point an epoch.

    A penalty (l2 = 0.002) gives the network of 885 parameters a state to settle in: without one it learns 1,000 examples by
    heart, its noise dies and its weights drift. Runs take one step; `SteadyState` trains on, 1,000 epochs of burn-in and
    5,000 that count. Low frequencies alone are coloured noise, which an Ornstein-Uhlenbeck process has as well, and
    decide nothing. Asymmetry in time is reported.
    """

    id = "CS-2"
    statement = "SGD at a constant rate does not settle into Brownian motion about a minimum: it goes round in loops."
    source = SOURCE
    about = "optimization"
    kinds = (Kind.DIRECTION,)
    budget = "5,000 epochs after a burn-in of 1,000"
    policy = "one rate, 0.2, at batch size 50"
    published = "figures only: spectra and autocorrelations of increments (paper)"
    why_not_yours = "It follows a network with one hidden layer for 5,000 epochs, by a loop of its own."

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": tiny(scale, l2=PENALTY, train=1000)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        plan = one_setting(
            facts["main"], scale, Steps(1), LONG[scale], batch_size=LARGE_BATCH, rate=STEADY_RATE
        )  # fmt: skip
        return {"steady": plan}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "steady")
        excess = {way: self._excess(grid, way, "equilibrium") for way in (*DRAWN, "isotropic")}
        parts, sure = [], []
        for way in DRAWN:
            nulls = {
                "equilibrium of equal covariance": excess[way],
                "surrogates of equal spectra": self._excess(grid, way, "surrogate"),
                "SGD with isotropic noise": excess[way] - excess["isotropic"],
            }
            parts += [
                direction(
                    f"{way}: goes round more than {null}", values, unit="log ratio", margin=FACTOR,
                    definition=f"log of the circulation strength over that of {null}",
                )
                for null, values in nulls.items()
            ]  # fmt: skip
            sure.append(self._above_one(grid, way, "turning", "some plane's angular velocity excludes 0"))
        outcome = all_of(parts)
        if outcome is Outcome.SUPPORTED and any(one.outcome is not Outcome.SUPPORTED for one in sure):
            outcome = Outcome.INCONCLUSIVE
        slow = [self._above_one(grid, way, "low_frequency", "increments are slower than white noise") for way in DRAWN]
        notes = self._notes(grid)
        if outcome is not Outcome.SUPPORTED and any(one.outcome is Outcome.SUPPORTED for one in slow):
            notes.append("low frequencies without loops that are beyond the nulls: coloured noise")
        lines = tuple(line(way, grid.seeds, values[None]) for way, values in excess.items() if len(values))
        figure = Figure("seed", "log of circulation over that of an equilibrium", lines, log_x=False)
        return verdict(self.id, exhibit, [*parts, *sure, *slow], outcome=outcome, figure=figure, notes=notes)

    def _excess(self, grid: Grid, way: str, null: str) -> np.ndarray:
        found, chance = (at_last(grid, f"steady_circulation{one}[{way}]") for one in ("", f"_{null}"))
        return np.log(found / chance)

    def _above_one(self, grid: Grid, way: str, quantity: str, said: str) -> Part:
        return direction(
            f"{way}: {said}", np.log(at_last(grid, f"steady_{quantity}[{way}]")), unit="log ratio",
            definition=f"log of steady_{quantity}: see SteadyState", counts=False,
        )  # fmt: skip

    def _notes(self, grid: Grid) -> list[str]:
        found = []
        for way in (*DRAWN, "isotropic"):
            one, null, drift = (
                finite(at_last(grid, f"steady_{name}[{way}]")) for name in ("asymmetry", "asymmetry_null", "drift")
            )
            if len(one) and len(null) and len(drift):
                found.append(
                    f"{way}: asymmetry in time {one.mean():.3g}, {null.mean():.3g} in surrogates; its halves' means are "
                    f"{drift.mean():.2g} standard deviations apart in the component that drifts most"
                )
        return found

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        above, scatter = {"true": (1.5, 0.35), "false": (0.0, 0.3), "silent": (0.4, 1.2)}[world]

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            found: dict[str, np.ndarray | float] = {"train_loss": 0.3}
            for way in (*DRAWN, "isotropic"):
                level = above if way != "isotropic" else 0.0
                found |= {
                    f"steady_circulation[{way}]": 0.003 * np.exp(level + scatter * generator.normal()),
                    f"steady_circulation_equilibrium[{way}]": 0.003 * np.exp(0.05 * generator.normal()),
                    f"steady_circulation_surrogate[{way}]": 0.003 * np.exp(0.05 * generator.normal()),
                    f"steady_turning[{way}]": 0.65 * np.exp(level + 0.3 * generator.normal()),
                    f"steady_low_frequency[{way}]": 0.9 * np.exp(0.05 * generator.normal()),
                }
            return found

        return values


@final
class NoiseSettles(Claim):
    """CS-3: runs are trained for 40 % of the epochs, and `NoisePersistence` trains them on to the end, twice.

    Chance is what two copies differ in that saw other orders after 40 %: not two seeds, whose hidden units have nothing to
    do with each other. So that a noise that forgets all in both ways does not count as settled, most of its ten leading
    directions have to be kept as well.
    """

    id = "CS-3"
    statement = "Late in training the covariance of gradient noise hardly depends on the weights any more."
    source = SOURCE
    about = "optimization"
    kinds = (Kind.EQUIVALENCE,)
    budget = "equal epochs: 40 and 100"
    policy = "one rate, 0.1, at batch size 32"
    published = "figures only: spectra alike at 20%, 40% and 100% of training (paper)"
    why_not_yours = "It needs 40% of a training that is long for its task, and a covariance of the whole training set."

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": tiny(scale)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        budget = Epochs(SETTLED * 100 if scale == "full" else 4)
        watched = NoisePersistence(epochs=FURTHER[scale])
        return {"settled": one_setting(facts["main"], scale, budget, watched)}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "settled")
        overlap, distance = (
            {pair: at_last(grid, f"noise_{name}[{pair}]") for pair in ("later", "copies")}
            for name in ("overlap", "distance")
        )
        told = (
            ("leading directions stay as near as chance lets them", overlap["later"] - overlap["copies"], -NEAR, np.inf,
             "overlap of the leading directions at 40% and 100%, less that of two copies at 100%"),
            ("the spectrum stays as near as chance lets it", distance["later"] - distance["copies"], -np.inf, NEAR,
             "Kolmogorov-Smirnov distance of the spectra at 40% and 100%, less that of two copies at 100%"),
            ("most leading directions are kept", overlap["later"], KEPT, np.inf,
             "overlap of the leading directions at 40% and 100%"),
        )  # fmt: skip
        parts = [
            band(name, mean_estimate(finite(values), unit="share", definition=words), low, high, kind=Kind.EQUIVALENCE)
            for name, values, low, high, words in told
        ]
        notes = [
            f"{words} {finite(values).mean():.3g}"
            for words, values in (
                ("overlap of directions that do not know each other", at_last(grid, "noise_overlap_null")),
                ("trace of the covariance at 100% over that at 40%:", at_last(grid, "noise_trace_ratio")),
            )
            if len(finite(values))
        ]
        lines = [one for pair in overlap for one in along(grid, f"noise_overlap[{pair}]", pair)]
        figure = Figure("steps + 1", f"overlap after {FURTHER['full']} further epochs", tuple(lines))
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        kept, lost, scatter = {"true": (0.85, 0.02, 0.035), "false": (0.4, 0.25, 0.08), "silent": (0.5, 0.1, 0.3)}[
            world
        ]

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            first, second, third, fourth = scatter * generator.normal(size=4)
            return {
                "train_loss": 0.1, "noise_overlap[later]": kept + first, "noise_overlap[copies]": kept + lost + second,
                "noise_distance[later]": 0.05 + lost + third / 2, "noise_distance[copies]": 0.05 + fourth / 2,
                "noise_overlap_null": 10 / 885, "noise_trace_ratio": 0.5,
            }  # fmt: skip

        return values


def at_last(grid: Grid, quantity: str) -> np.ndarray:
    """Return a quantity at the end of the runs of an arm with one setting, shape (seed,); empty without any."""
    tables = [grid.table(size, last(quantity)) for size in grid.batch_sizes()]
    return tables[0][0] if tables else np.array([])


def along(grid: Grid, quantity: str, name: str = "") -> Sequence[Line]:
    """Return the line of a quantity over the steps at which it was measured, named as the task by default."""
    found = [[row[seed] for seed in grid.seeds] for rates in grid.tracks.values() for row in rates.values()]
    if not found or quantity not in found[0][0].values:
        return []
    tracks = found[0]
    steps = tracks[0].step
    values = [one.values[quantity] for one in tracks if quantity in one.values and len(one.step) == len(steps)]
    table = np.array(values)
    kept = np.isfinite(table).any(0)
    return [line(name or grid.facts.name, list(1 + steps[kept]), table[:, kept])]


def finite(values: np.ndarray) -> np.ndarray:
    """Return the values that are finite."""
    return values[np.isfinite(values)]
