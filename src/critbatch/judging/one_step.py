"""What one step does, over batch sizes and learning rates: the best rate, its gain, and the curves through them."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from ..budgets.steps import Steps
from ..claim import Exhibit, Kind, Part, Scale
from ..finding import TaskFacts
from ..measurement import measured_steps
from ..measurements.one_step import OneStep
from ..plan import Plan, Run
from ..statistics.resampling import replicate_estimate, replicated, seed_groups
from .parts import band, nothing
from .protocol import common_row, middle_size, runs, sizes
from .reading import arm_grid, arm_tracks, at_end, chosen_rate, worse

EXAMPLES = 2048  # of the training set, within which steps are taken and read
STEPS = {"full": 1000, "smoke": 80}
SMALL, MIDDLE = 16, 256  # below and from there on: other learning rates and other numbers of batches
BATCHES = {"full": (32, 16, 8), "smoke": (4, 4, 4)}
BED_RATES = ((-11, 1), (-8, 3), (-5, 5))  # powers of 2, first and last
OWN_RATES = (-8, 2)  # powers of 4
CUBIC = 0.1  # of made-up losses, that are not quite quadratic
PATH, MEASURED = (
    "sweep",
    "one step",
)  # arms: where the learning rate of the path is chosen, and the path that is measured


@final
@dataclass(frozen=True, eq=False)
class Changes:
    """Mean changes of the training loss after one step.

    Attributes:
        population: Examples of the set.
        steps: Shape (look,): where the parameters were frozen.
        seeds: Which seeds have all looks.
        rates: Shape (rate,), by batch size.
        values: Shape (seed, look, rate), by batch size; NaN where nothing was measured.
    """

    population: int
    steps: np.ndarray
    seeds: tuple[int, ...]
    rates: Mapping[int, np.ndarray]
    values: Mapping[int, np.ndarray]

    @property
    def sizes(self) -> np.ndarray:
        """Return the batch sizes, ascending, shape (size,)."""
        return np.array(sorted(self.rates), dtype=float)

    @property
    def scarcity(self) -> np.ndarray:
        """Return 1/B - 1/N, by which sampling without replacement multiplies the gradient's variance, shape (size,)."""
        return 1 / self.sizes - 1 / self.population


def path_arm(facts: TaskFacts, scale: Scale) -> Mapping[str, Plan]:
    """Return the runs among which the learning rate of the path is chosen: a row of the common sweep."""
    return {PATH: common_row(facts, scale, middle_size(facts, scale))}


def measured_arm(exhibit: Exhibit) -> Mapping[str, Plan]:
    """Return the path: runs at the middle batch size and its best learning rate, with single steps tried along it."""
    facts, scale = exhibit.facts["main"], exhibit.scale
    grid = arm_grid(exhibit, PATH)
    size = middle_size(facts, scale)
    best = None
    if size in grid.tracks:
        best = chosen_rate(grid, size, score=worse(grid, at_end(f"{facts.selection_split}_{facts.metric}")))
    if best is None:
        return {}
    plan = runs(
        facts, batch_sizes=[size], rates=[best], seeds=grid.seeds, budget=Steps(STEPS[scale]),
        measurements=_measurements(facts, scale),
    )  # fmt: skip
    return {MEASURED: plan}


def _measurements(facts: TaskFacts, scale: Scale) -> tuple[OneStep, ...]:
    """Return one measurement for each range of batch sizes: small ones need lower rates, and more batches."""
    whole = min(facts.train_size or EXAMPLES, EXAMPLES)
    grid = sizes(dataclasses.replace(facts, train_size=whole), "full")
    ends = (0, SMALL, MIDDLE, whole + 1)
    found = []
    for place, batches in enumerate(BATCHES[scale]):
        some = tuple(size for size in grid if ends[place] <= size < ends[place + 1])
        low, high = BED_RATES[place] if facts.is_bed else OWN_RATES
        rates = tuple((2.0 if facts.is_bed else 4.0) ** power for power in range(low, high + 1))
        if some:
            found.append(OneStep(some, rates if scale == "full" else rates[::2], batches=batches, examples=EXAMPLES))
    return tuple(found)


def changes(exhibit: Exhibit) -> Changes | None:
    """Return what the measured runs recorded, or None if there is nothing."""
    looks = arm_tracks(exhibit)
    plan = [run for run in exhibit.arms.get(MEASURED, ()) if isinstance(run, Run)]
    found = {run.seed: looks[run.id] for run in plan if run.id in looks and looks[run.id].completed}
    ones = [one for one in plan[0].measurements if isinstance(one, OneStep)] if plan else []
    cells = {size: (one, np.array(one.learning_rates)) for one in ones for size in one.batch_sizes}
    tables, steps = {}, set()
    for seed, track in found.items():
        names = {size: [one.change(size, rate) for rate in rates] for size, (one, rates) in cells.items()}
        missing = np.full(len(track.step), np.nan)
        tables[seed] = {
            size: np.stack([track.values.get(name, missing) for name in row], -1) for size, row in names.items()
        }
        seen = track.step[
            [any(np.isfinite(one[look]).any() for one in tables[seed].values()) for look in range(len(missing))]
        ]
        steps = set(seen.tolist()) if seed == next(iter(found)) else steps & set(seen.tolist())
    if not steps:
        return None
    common = np.array(sorted(steps))
    kept = {seed: np.searchsorted(found[seed].step, common) for seed in found}
    values = {size: np.stack([tables[seed][size][kept[seed]] for seed in found]) for size in cells}
    population = min(exhibit.facts["main"].train_size or EXAMPLES, EXAMPLES)
    return Changes(population, common, tuple(found), {size: rates for size, (_, rates) in cells.items()}, values)


@final
@dataclass(frozen=True, eq=False)
class BestStep:
    """The learning rate with the most negative change, between the grid's points.

    Attributes:
        nodes: Shape (..., 3): indices of the three rates around it.
        rate: Shape (...,); NaN where the lowest change is at the end of the grid, or not below 0.
    """

    nodes: np.ndarray
    rate: np.ndarray


def best_step(rates: np.ndarray, values: np.ndarray) -> BestStep:
    """Return the best learning rate: change/rate as a parabola through the three rates around the lowest change.

    Exact where the change is a polynomial of third degree in the rate, as it is to a first approximation. Rates beyond
    the first that does not help are not looked at.

    Args:
        rates: Shape (rate,), ascending.
        values: Changes, shape (..., rate).
    """
    helps = np.logical_and.accumulate(values < 0, axis=-1)
    lowest = np.argmin(np.where(helps, values, np.inf), axis=-1)
    middle = np.clip(lowest, 1, len(rates) - 2)
    nodes = middle[..., None] + np.array([-1, 0, 1])
    ladder = np.exp(np.linspace(np.log(rates[nodes[..., 0]]), np.log(rates[nodes[..., 2]]), 81, axis=-1))
    curve = interpolated(rates, values, nodes, ladder)
    place = np.argmin(np.where(np.isfinite(curve), curve, np.inf), axis=-1)[..., None]
    found = np.take_along_axis(ladder, place, -1)[..., 0]
    inside = (lowest == middle) & np.isfinite(np.take_along_axis(values, nodes, -1)).all(-1) & helps[..., 0]
    return BestStep(nodes, np.where(inside, found, np.nan))


def interpolated(rates: np.ndarray, values: np.ndarray, nodes: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return the change at learning rates `at`, shape (..., place): rate times the parabola of change/rate at `nodes`."""
    x = rates[nodes]
    y = np.take_along_axis(values, nodes, -1) / x
    found = np.zeros(np.broadcast_shapes(at.shape, (*values.shape[:-1], 1)))
    for one in range(3):
        others = [two for two in range(3) if two != one]
        weight = y[..., one, None]
        for two in others:
            weight = weight * (at - x[..., two, None]) / (x[..., one, None] - x[..., two, None])
        found = found + weight
    return found * at


def best_rates(found: Changes) -> tuple[np.ndarray, np.ndarray]:
    """Return the best learning rate and its gain (minus the change) of all seeds together, and without each seed.

    Both of shape (replicate, look, size); NaN where the best rate is not inside the grid in all replicates.
    """
    rates, gains = [], []
    for size in sorted(found.rates):
        means = replicated(found.values[size])
        best = best_step(found.rates[size], means)
        rates.append(best.rate)
        gains.append(-interpolated(found.rates[size], means, best.nodes, best.rate[..., None])[..., 0])
    rate, gain = np.stack(rates, -1), np.stack(gains, -1)
    inside = (np.isfinite(rate) & (gain > 0)).all(0)
    return np.where(inside, rate, np.nan), np.where(inside, gain, np.nan)


def gains_by_seed(found: Changes) -> np.ndarray:
    """Return each seed's gain at the learning rate that is best for the other seeds, shape (seed, look, size)."""
    columns = []
    for size in sorted(found.rates):
        values = found.values[size]
        others = replicated(values)[1:] if len(values) > 1 else values
        best = best_step(found.rates[size], others)
        columns.append(-interpolated(found.rates[size], values, best.nodes, best.rate[..., None])[..., 0])
    return np.stack(columns, -1)


def left_over_part(name: str, shares: np.ndarray, most: float, *, of: str) -> Part:
    """Return the test of "the formula leaves at most this share of the variance unexplained", from replicates of seeds."""
    definition = f"1 - R^2 of top/(1 + scale (1/B - 1/N)) in log {of}, all looks together"
    if not np.isfinite(shares).all() or len(shares) < 3 or (shares <= 0).any():
        return nothing(name, Kind.MODEL, "too few batch sizes have their best rate inside the ladder, or too few seeds",
                       "share of variance", definition, f"95% interval below {most:g}")  # fmt: skip
    effect = replicate_estimate(
        np.log(shares), seed_groups(len(shares) - 1), level=0.95, count=len(shares) - 1, unit="share of variance",
        method="least squares in logarithms, delete-one-seed jackknife, Student t", definition=definition, logarithmic=True,
    )  # fmt: skip
    return band(name, effect, -np.inf, most, kind=Kind.MODEL)


def made_up(run: Run, looks: np.ndarray, curvature: Callable[[int], np.ndarray]) -> dict[str, np.ndarray]:
    """Return what `OneStep` would record where the loss is about quadratic: -rate |G|^2 (1 - rate/2 curvature).

    Args:
        run: With its measurements; without any, a run of the path, best in the middle of its rates.
        looks: Steps, shape (look,).
        curvature: Of a batch size, shape (look,) or one number: (G'HG + tr(H Sigma)(1/B - 1/N)) / |G|^2.
    """
    squared_norm = 1 / (1 + looks)
    found: dict[str, np.ndarray] = {}
    for one in run.measurements:
        if isinstance(one, OneStep):
            seen = np.where(np.isin(looks, sorted(measured_steps(one.looks_per_decade))), 1.0, np.nan)
            for size in one.batch_sizes:
                bend = curvature(size) / 2
                for rate in one.learning_rates:
                    found[one.change(size, rate)] = (
                        -rate * squared_norm * seen * (1 - rate * bend - CUBIC * (rate * bend) ** 2)
                    )
    score = 0.9 - 0.01 * np.log2(run.learning_rate / 0.5) ** 2
    return found | {"train_loss": squared_norm, "validation_accuracy": np.full(len(looks), score)}
