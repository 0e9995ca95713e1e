"""What hidden layers know while the twelve-bit task is learned: the runs and readings that claims on information share.

Every run is tried in two orders of the data. "shuffled" is SGD: a random split, a new order every epoch. "as released" is
what the code of Shwartz-Ziv and Tishby does: training on the first patterns as they are counted, in the same stretches
every epoch, whose labels differ in their mean from .22 to .65. Batches are then no draws, and their scatter is a cycle:
it is told, and decides nothing.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from ..bed import Bed
from ..budgets.steps import Steps
from ..claim import Exhibit, Line, Scale
from ..finding import TaskFacts
from ..measurements.gradient_ratio import GradientRatio
from ..measurements.information_plane import InformationPlane
from ..mutual_information.binning import Bins, Fixed, Range, Saturating
from ..optimizers.adam import Adam
from ..plan import Plan
from ..sampling import LastBatch
from ..samplings.reshuffle import Reshuffle
from ..samplings.sequential import Sequential
from ..statistics.censoring import smooth
from .figures import line
from .protocol import runs
from .reading import arm_tracks

RATE = 4e-4
HIDDEN = {"full": (10, 7, 5, 4, 3), "smoke": (10, 7, 5)}
BATCH = {"full": 512, "smoke": 64}
UPDATES = {"full": 56_000, "smoke": 60}
SEEDS = {"full": 10, "smoke": 3}
SHARES = {0.8: {"full": 3277, "smoke": 1000}, 0.3: {"full": 1229, "smoke": 300}}
PER_DECADE = 8
ORDERS = ("shuffled", "as released")
ROLES = dict(zip(ORDERS, ("main", "released"), strict=True))
COMPRESSED = 0.5  # bits: less is none
BINS: dict[str, tuple[Bins, ...]] = {"tanh": (Fixed(30), Saturating(100)), "relu": (Range(100),)}
TANH, REBINNED, RELU = BINS["tanh"][0], BINS["tanh"][1], BINS["relu"][0]
BUDGET = "equal updates (56,000: 8,000 epochs of 7 batches of 512)"
POLICY = "Adam at one rate, 0.0004, as published"
WHY = "It needs all inputs there are, a handful of units in a layer, and thousands of epochs."


def twelve_bit_bed(scale: Scale, order: str, *, activation: str = "tanh", share: float = 0.8) -> Bed:
    """Return the published network and task; at smoke scale the digits, which need no data folder.

    Weights start with the variance of the published code, 1/inputs; so do biases, which are 0 there.

    Args:
        scale: Of the plan.
        order: Of `ORDERS`.
        activation: tanh or relu.
        share: Of the patterns to train on: 0.8 or 0.3.
    """
    return Bed(
        data="twelve-bits" if scale == "full" else "digits", side=0 if scale == "full" else 8, train=SHARES[share][scale],
        hidden=HIDDEN[scale], activation=activation, in_order=order == "as released", start=3**0.5,
    )  # fmt: skip


def twelve_bit_runs(
    facts: TaskFacts, scale: Scale, order: str, *, sizes: Iterable[int] = (), activation: str = "tanh"
) -> Plan:  # fmt: skip
    """Return runs of ten seeds with what their layers know and how their gradients scatter, 8 looks per decade.

    Args:
        facts: Of the task.
        scale: Of the plan.
        order: Of `ORDERS`.
        sizes: Batch sizes; 512 if there are none.
        activation: That of the task: decides the bins.
    """
    layers = len(HIDDEN[scale])
    watched = [InformationPlane(one, layers=layers, everything=True, per_decade=PER_DECADE) for one in BINS[activation]]
    shuffled = order == "shuffled"
    ratio = GradientRatio(
        layers=layers + 1, shuffled=shuffled, last_batch=LastBatch.WEIGHT, per_decade=PER_DECADE
    )  # fmt: skip
    return runs(
        facts, batch_sizes=tuple(sizes) or (BATCH[scale],), rates=[RATE], seeds=range(SEEDS[scale]),
        budget=Steps(UPDATES[scale]), optimizer=Adam(), measurements=(*watched, ratio),
        sampling=Reshuffle(LastBatch.WEIGHT) if shuffled else Sequential(LastBatch.WEIGHT),
    )  # fmt: skip


def orders_beds(scale: Scale) -> Mapping[str, Bed]:
    """Return the task in both orders, by role."""
    return {role: twelve_bit_bed(scale, order) for order, role in ROLES.items()}


def orders_arms(scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
    """Return the published run, ten seeds, in both orders."""
    return {order: twelve_bit_runs(facts[role], scale, order) for order, role in ROLES.items()}


def arm_of(activation: str, share: float, order: str) -> str:
    """Return the name of an arm that differs from others in these."""
    return f"{activation} {share:.0%} {order}"


@final
@dataclass(frozen=True, eq=False)
class Course:
    """Values of the layers of one run along its steps.

    Attributes:
        steps: Shape (look,), ascending, at least 1.
        values: Shape (layer, look), finite.
    """

    steps: np.ndarray
    values: np.ndarray

    @property
    def compression(self) -> np.ndarray:
        """Return by how much each layer's values end below their largest, shape (layer,), in their unit; smoothed."""
        smoothed = self._smoothed
        return smoothed.max(1) - smoothed[:, -1]

    @property
    def onset(self) -> np.ndarray:
        """Return the step at which the values of each layer are largest, shape (layer,); smoothed."""
        return self.steps[self._smoothed.argmax(1)]

    @property
    def _smoothed(self) -> np.ndarray:
        return np.stack([smooth(row) for row in self.values])


def information(exhibit: Exhibit, arm: str, bins: Bins, size: int | None = None) -> dict[int, Course]:
    """Return I(X;T) of every hidden layer by seed, of runs that ended regularly and recorded it.

    Args:
        exhibit: The evidence.
        arm: Which runs.
        bins: By which it was measured.
        size: Batch size; None where the arm has one.
    """
    measurement = InformationPlane(bins, layers=len(HIDDEN[exhibit.scale]))
    names = [measurement.names(layer)[0] for layer in range(1, measurement.layers + 1)]
    return _courses(exhibit, arm, names, size)


def gradient_ratios(exhibit: Exhibit, arm: str) -> dict[int, Course]:
    """Return log10 |mean|/|deviation| of batch gradients of every weight matrix by seed, as `information` does.

    Looks where some layer's gradients do not scatter, or are 0, are left out.
    """
    measurement = GradientRatio(layers=len(HIDDEN[exhibit.scale]) + 1)
    names = [measurement.names(layer) for layer in range(1, measurement.layers + 1)]
    means, deviations = (_courses(exhibit, arm, [pair[which] for pair in names], None) for which in (0, 1))
    found = {}
    for seed in means.keys() & deviations.keys():
        above, below = means[seed].values, deviations[seed].values
        kept = ((above > 0) & (below > 0)).all(0)
        found[seed] = Course(means[seed].steps[kept], np.log10(above[:, kept] / below[:, kept]))
    return dict(sorted(found.items()))


def _courses(exhibit: Exhibit, arm: str, names: list[str], size: int | None) -> dict[int, Course]:
    tracks = arm_tracks(exhibit)
    found = {}
    for run in exhibit.arms.get(arm, ()):
        track = tracks.get(run.id)
        if track is None or not track.completed or size not in (None, run.batch_size) or names[0] not in track.values:
            continue
        table = np.stack([track.values[name] for name in names])
        kept = np.isfinite(table).all(0) & (track.step > 0)
        if kept.sum() > 2:
            found[run.seed] = Course(track.step[kept], table[:, kept])
    return dict(sorted(found.items()))


def layer_lines(courses: Mapping[int, Course], name: str) -> list[Line]:
    """Return a line along the steps for each layer, means over seeds, at the looks that all seeds have.

    Args:
        courses: By seed.
        name: Before the number of the layer.
    """
    if not courses:
        return []
    steps = functools.reduce(np.intersect1d, [one.steps for one in courses.values()])
    tables = np.array([one.values[:, np.isin(one.steps, steps)] for one in courses.values()])
    return [line(f"{name} {layer}", list(steps), tables[:, layer - 1]) for layer in range(1, tables.shape[1] + 1)]


def mean_compression(courses: Mapping[int, Course]) -> dict[int, float]:
    """Return the mean compression over layers by seed, in bits per layer."""
    return {seed: float(one.compression.mean()) for seed, one in courses.items()}


def made_up_layers(
    looks: np.ndarray, falls: Sequence[float] | np.ndarray, bins: Bins, *, onset: np.ndarray | float = 1000.0
) -> dict[str, np.ndarray]:  # fmt: skip
    """Return I(X;T) of layers that rises from 3 to 9 bits until `onset`, and then falls.

    Args:
        looks: Steps, shape (look,).
        falls: Bits by which each layer falls by the last look.
        bins: Of the measurement.
        onset: Steps, one for all or one for each layer.
    """
    last = max(float(looks[-1]), 4.0)
    logs, end = np.log(np.maximum(looks, 1.0)), np.log(last)
    begun = np.broadcast_to(np.log(np.clip(onset, 2.0, last / 2)), len(falls))
    rise = np.minimum(logs / begun[:, None], 1.0)
    fall = np.clip((logs - begun[:, None]) / (end - begun[:, None]), 0.0, 1.0)
    table = 3 + 6 * rise - np.reshape(falls, (-1, 1)) * fall
    measurement = InformationPlane(bins, layers=len(falls))
    return {measurement.names(layer)[0]: row for layer, row in enumerate(table, 1)}


def made_up_falls(mean: float, scatter: float, generator: np.random.Generator) -> np.ndarray:
    """Return bits that each layer of a network forgets, at least 0, around a mean that scatters from network to network."""
    layers = len(HIDDEN["full"])
    return np.maximum(mean + scatter * generator.normal() + 0.2 * generator.normal(size=layers), 0.0)
