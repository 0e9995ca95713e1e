"""IS-1: Ioffe and Szegedy (2015). Does BatchNorm hold the inputs of hidden units still, and does it speed up training?"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import ClassVar, final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Track
from ..bed import Bed
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Part, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.pairs import BySeed, differences, stacked, tuned_by_seed
from ..judging.parts import direction, verdict
from ..judging.protocol import runs, seeds
from ..judging.reading import Reader, arm_grid, chosen_rate, steps_to
from ..measurements.activation_drift import ActivationDrift
from ..plan import Plan, Run

TUNING = range(1000, 1002)  # seeds that no verdict reads
PREFIX = "unit_input_percentile_"
TINY = 1e-12


@final
class BatchNormHoldsInputsStill(Claim):
    """Three sigmoid layers of 100 units with and without BatchNorm, at rates tuned for either.

    Speed: updates to a training loss. Drift: the path that percentiles 15, 50 and 85 of the inputs of units of the last
    hidden layer take over a run, from look to look, per update and per unit by which the training loss fell. Judged at
    the source's batch size of 60; one small batch and the whole set are told beside it, their rates chosen on two seeds
    that are not judged. 600 images and 1,000 updates stand in for 60,000 and 50,000.

    Drift is counted in the units of the sigmoid's input, as the source draws it. Whether it is drift that slows training
    is another question, which Santurkar et al. (2018), arXiv:1805.11604, answer in the negative.
    """

    id = "IS-1"
    statement = "BatchNorm makes the inputs of hidden units drift less during training, and training faster."
    source = "Ioffe and Szegedy (2015), arXiv:1502.03167; against: Santurkar et al. (2018), arXiv:1805.11604"
    about = "optimization"
    kinds = (Kind.DIRECTION,)
    budget = "equal updates (1,000)"
    policy = "tuned with and without: four rates a factor of 4 apart, the same for both, chosen on the other seeds"
    published = (
        "MNIST, three layers of 100 sigmoids, batch size 60, 50,000 steps: percentiles steadier and accuracy sooner with "
        "BatchNorm; ImageNet's accuracy in 7 % of the steps (paper); 0.98 against 0.9769 in a repetition (second-hand)"
    )
    why_not_yours = "It compares a network with BatchNorm to the same one without, so it needs both."

    BATCH: ClassVar[Mapping[Scale, int]] = {"full": 60, "smoke": 64}
    UPDATES: ClassVar[Mapping[Scale, int]] = {"full": 1000, "smoke": 80}
    GOAL = 0.5  # training loss: about a fifth of that of guessing
    KINDS = ("plain", "normalised")

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        bed = Bed(train=600, hidden=(100, 100, 100), activation="sigmoid")
        if scale == "smoke":
            bed = Bed(data="digits", train=1024, side=8, hidden=(32, 32), activation="sigmoid")
        return {"plain": bed, "normalised": dataclasses.replace(bed, norm="batch")}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        size, found = self.BATCH[scale], {}
        for kind in self.KINDS:
            rates = self._rates(size)[:: 1 if scale == "full" else 2]
            found[kind] = self._plan(facts, scale, kind, {size: rates}, seeds(scale), drift=True)
            if others := self._others(scale, facts):
                grid = {one: self._rates(one) for one in others}
                found[f"tune {kind}"] = self._plan(facts, scale, kind, grid, TUNING, drift=False)
        return found

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        scale, found = exhibit.scale, {}
        for kind in self.KINDS:
            if f"tune {kind}" not in exhibit.arms:
                continue
            grid = arm_grid(exhibit, f"tune {kind}", role=kind)
            best = {size: chosen_rate(grid, size, score=self._score(scale)) for size in grid.batch_sizes()}
            rates = {size: (rate,) for size, rate in best.items() if rate is not None}
            if rates:
                found[f"{kind}, others"] = self._plan(exhibit.facts, scale, kind, rates, seeds(scale), drift=True)
        return found

    @staticmethod
    def _rates(size: int) -> tuple[float, ...]:
        return (1 / 16, 1 / 4, 1.0, 4.0) if size < 16 else (1 / 4, 1.0, 4.0, 16.0)

    @staticmethod
    def _others(scale: Scale, facts: Mapping[str, TaskFacts]) -> list[int]:
        return [8, facts["plain"].train_size or 600] if scale == "full" else []

    def _plan(
        self, facts: Mapping[str, TaskFacts], scale: Scale, kind: str, rates: Mapping[int, tuple[float, ...]],
        numbers: range, *, drift: bool,
    ) -> Plan:  # fmt: skip
        return runs(
            facts[kind], batch_sizes=rates, rates=rates, seeds=numbers, budget=Steps(self.UPDATES[scale]),
            measurements=[ActivationDrift(units=3)] if drift else (),
        )  # fmt: skip

    def _score(self, scale: Scale) -> Reader:
        """Return a reader of log updates to the goal; the training loss is added where it was not reached."""
        arrived, most = steps_to("train_loss", self.GOAL, "below"), self.UPDATES[scale]

        def read(track: Track) -> float:
            values = track.values.get("train_loss")
            if values is None or not track.completed:
                return np.nan
            steps = arrived(track)
            return float(np.log(steps) if np.isfinite(steps) else np.log(most) + values[-1])

        return read

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        size = self.BATCH[exhibit.scale]
        found = {one: {kind: self._numbers(exhibit, kind, one) for kind in self.KINDS} for one in self._sizes(exhibit)}
        last = float(np.log(self.UPDATES[exhibit.scale]))
        parts = list(self._parts(size, found.get(size, {}), last, counts=True))
        for one, numbers in found.items():
            if one != size:
                parts += self._parts(one, numbers, last, counts=False)
        lines = []
        for kind in self.KINDS:
            columns: dict[float, BySeed] = {
                float(one): numbers[kind]["update"] for one, numbers in sorted(found.items()) if numbers[kind]["update"]
            }
            lines.append(line(kind, list(columns), np.exp(stacked(columns)), logarithmic=True))
        figure = Figure("batch size", "drift per update", tuple(lines), log_y=True)
        return verdict(self.id, exhibit, parts, figure=figure)

    def _sizes(self, exhibit: Exhibit) -> list[int]:
        plans = [plan for arm, plan in exhibit.arms.items() if not arm.startswith("tune")]
        return sorted({run.batch_size for plan in plans for run in plan})

    def _numbers(self, exhibit: Exhibit, kind: str, size: int) -> dict[str, BySeed]:
        """Return logarithms of updates to the goal and of the three drifts, by seed."""
        arm = kind if size == self.BATCH[exhibit.scale] else f"{kind}, others"
        readers = {"steps": steps_to("train_loss", self.GOAL, "below"), **_DRIFTS}
        grid = arm_grid(exhibit, arm, role=kind) if arm in exhibit.arms else None
        if grid is None or size not in grid.tracks:
            return {name: {} for name in readers}
        score = self._score(exhibit.scale)
        found = {}
        for name, reader in readers.items():
            read = _logarithm(reader, self.UPDATES[exhibit.scale] if name == "steps" else np.inf)
            if len(grid.rates(size)) > 1:
                found[name] = tuned_by_seed(grid, size, score=score, read=read)
            else:
                row = zip(grid.seeds, grid.table(size, read)[0], strict=True)
                found[name] = {seed: float(value) for seed, value in row if np.isfinite(value)}
        return found

    def _parts(
        self, size: int, numbers: Mapping[str, Mapping[str, BySeed]], last: float, *, counts: bool
    ) -> Iterator[Part]:  # fmt: skip
        texts = {
            "steps": ("fewer updates with BatchNorm", f"updates to a training loss of {self.GOAL}; those who do not arrive "
                      "count as arriving with the last update, pairs of which neither arrives not at all"),
            "update": ("less drift per update", "path of percentiles per update"),
            "loss": ("less drift per unit of loss", "path of percentiles per unit by which the training loss fell"),
            "spread": ("less drift for its spread", "path of percentiles per update, in distances of 15 to 85"),
        }  # fmt: skip
        none: Mapping[str, BySeed] = {}
        for name, (text, definition) in texts.items():
            plain, normalised = (numbers.get(kind, none).get(name, {}) for kind in self.KINDS)
            if name == "steps":
                plain = {seed: value for seed, value in plain.items() if min(value, normalised.get(seed, value)) < last}
            yield direction(
                f"{text} at B = {size}", differences(plain, normalised), unit="log ratio",
                counts=counts and name != "spread", definition=f"log of {definition}: without less with BatchNorm",
            )  # fmt: skip

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        faster = {"true": 5.0, "false": 0.5, "silent": 3.0}[world]  # with BatchNorm
        drift = {"true": 0.3, "false": 2.0, "silent": 0.4}[world]
        noise = {"true": 0.15, "false": 0.15, "silent": 1.5}[world]
        shared = generator.normal(0, noise, size=2000)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray]:
            normalised = "normalised" in arm
            speed = 0.01 * np.exp(0.7 * shared[run.seed] + generator.normal(0, noise))
            speed *= (faster if normalised else 1.0) / (1 + np.log2(run.learning_rate) ** 2 / 4)
            found = {"train_loss": 2.3 * np.exp(-speed * looks) + 0.002}
            if not run.measurements:
                return found
            way = (drift if normalised else 1.0) * np.exp(0.7 * shared[run.seed] + generator.normal(0, noise))
            (measured,) = run.measurements
            for place, name in enumerate(measured.quantities):
                path = np.cumsum(generator.normal(0, 0.2 * way, size=len(looks)))
                found[name] = 2.0 * (place // 3 - 1) + way * np.log1p(looks) / 7 + path
            return found

        return values


def _logarithm(reader: Reader, most: float) -> Reader:
    """Return a reader of the logarithm of what `reader` reads, at most that of `most`; NaN where it reads none above 0."""

    def read(track: Track) -> float:
        value = reader(track)
        return float(np.log(min(value, most))) if value > TINY else np.nan

    return read


def _path(track: Track) -> tuple[np.ndarray, np.ndarray] | None:
    """Return percentiles at the looks that have them, shape (quantity, look), and which looks; None with fewer than two."""
    names = [name for name in sorted(track.values) if name.startswith(PREFIX)]
    if not names or not track.completed:
        return None
    rows = np.stack([track.values[name] for name in names])
    looks = np.flatnonzero(np.isfinite(rows).all(0))
    return (rows[:, looks], looks) if len(looks) > 1 else None


def _length(rows: np.ndarray) -> float:
    return float(np.abs(np.diff(rows, axis=1)).sum(1).mean())


def _per_update(track: Track) -> float:
    found = _path(track)
    if found is None:
        return np.nan
    rows, looks = found
    return _length(rows) / float(track.step[looks[-1]] - track.step[looks[0]])


def _per_loss(track: Track) -> float:
    found, loss = _path(track), track.values.get("train_loss")
    if found is None or loss is None:
        return np.nan
    rows, looks = found
    fallen = float(loss[looks[0]] - loss[looks[-1]])
    return _length(rows) / fallen if fallen > 0 else np.nan


def _per_spread(track: Track) -> float:
    """Return the drift per update over the mean distance of the outer percentiles of the same units."""
    found = _path(track)
    if found is None:
        return np.nan
    rows, _ = found
    third = len(rows) // 3  # names in order: all units of percentile 15, then of 50, then of 85
    spread = float(np.abs(rows[2 * third :] - rows[:third]).mean())
    return _per_update(track) / spread if spread > 0 else np.nan


_DRIFTS: Mapping[str, Reader] = {"update": _per_update, "loss": _per_loss, "spread": _per_spread}
