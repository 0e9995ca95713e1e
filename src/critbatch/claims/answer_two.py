"""QA-7: the second answer to the founding question. Is the noise of SGD the regularizer without which networks overfit?"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Track
from ..bed import DIGITS, Bed
from ..budget import Budget
from ..budgets.epochs import Epochs
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Part, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.pairs import BySeed, differences, stacked, tuned_by_seed
from ..judging.parts import accuracy_margin, direction, verdict
from ..judging.protocol import order, runs, seeds
from ..judging.reading import Reader, arm_grid, at_end, chosen_rate, steps_to
from ..optimizer import Optimizer
from ..optimizers.gradient_penalty import GradientPenalty
from ..optimizers.sgd import SGD
from ..plan import Plan, Run
from ..sampling import Sampling
from ..samplings.repeated import Repeated
from ..statistics.censoring import value_at

NONE, DECAY, SMOOTHING, PENALTY = "none", "weight decay", "label smoothing", "gradient penalty"
TUNING = range(1000, 1002)  # seeds that no verdict reads


@final
@dataclass(frozen=True)
class _Setting:
    """A regularizer of one strength: the task that has it, or the rule and order that bring it, and steps an update."""

    method: str
    strength: float
    role: str = "main"
    optimizer: Optimizer = dataclasses.field(default_factory=SGD)
    sampling: Sampling | None = None
    steps: int = 1

    def arm(self, stage: str) -> str:
        """Return the name of the arm that has this setting."""
        return f"{stage}, {self.method} {self.strength:g}" if self.strength else f"{stage}, {self.method}"


def _setting(method: str, strength: float) -> _Setting:
    if method == DECAY:
        return _Setting(method, strength, optimizer=SGD(weight_decay=strength))
    if method == SMOOTHING:
        return _Setting(method, strength, role=f"smoothed {strength:g}")
    if method == PENALTY:
        return _Setting(method, strength, optimizer=GradientPenalty(strength), sampling=Repeated(2), steps=2)
    return _Setting(method, strength)


@final
class NoiseIsTheRegularizer(Claim):
    """Does a small batch generalize better for its noise, and is that noise needed?

    Small batches and the whole training set, each with its own best rate and with nothing else that regularizes, are
    compared at the end and where they have the same training loss. Then the whole training set with the best of three
    explicit regularizers stands against the small batch without: if it is as good, noise is not necessary. All networks
    that count fit their training set to 99.5 %.

    Rates are chosen by the validation accuracy of the other seeds; strengths, and the rates that go with them, by that of
    two seeds that are not judged; the regularizer by that of the other seeds. A small batch with a regularizer has the
    strength found for the whole set and its own rate without one. A network of 1,000 images stands in for the larger ones
    of the debate, since full batches are dear.
    """

    id = "QA-7"
    statement = "The noise of SGD is the regularizer, without which it is hard to explain that networks do not overfit."
    source = (
        "second answer to the founding question; against: Geiping et al. (2021), arXiv:2109.14119; Zhang et al. (2016), "
        "arXiv:1611.03530"
    )
    about = "generalization"
    kinds = (Kind.DIRECTION,)
    budget = "until the training set is fitted: 40 epochs of small batches, 1,000 updates of the whole set"
    policy = "tuned in each cell, on validation by other seeds: three rates a factor of 2 apart, two strengths"
    why_not_yours = (
        "It needs a network that fits its training set to 99.5 % under every regularizer, at rates known beforehand."
    )

    SMALL = 16
    FITTED = 0.995  # training accuracy
    MATCHED = 0.02  # training loss, at which arms are compared besides
    STRENGTHS: ClassVar[Mapping[str, tuple[float, ...]]] = {
        NONE: (0.0,), DECAY: (1e-3, 3e-3), SMOOTHING: (0.1, 0.3), PENALTY: (0.01, 0.1),
    }  # fmt: skip
    SMALL_RATES = (1 / 8, 1 / 4, 1 / 2)
    WHOLE_RATES = (1 / 4, 1 / 2, 1.0)

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        bed = Bed(train=1000) if scale == "full" else DIGITS
        strengths = {setting.strength for setting in self._settings(scale) if setting.method == SMOOTHING}
        smoothed = {f"smoothed {one:g}": dataclasses.replace(bed, label_smoothing=one) for one in strengths}
        return {"main": bed, **smoothed}

    def _settings(self, scale: Scale) -> Iterator[_Setting]:
        for method, strengths in self.STRENGTHS.items():
            for strength in strengths if scale == "full" else strengths[:1]:
                yield _setting(method, strength)

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        whole, count = facts["main"].train_size or 1024, 3 if scale == "full" else 1
        rates = {self.SMALL: self.SMALL_RATES[:count], whole: self.WHOLE_RATES[:count]}
        none = _setting(NONE, 0.0)
        found = {
            f"{name}, {NONE}": _plan(facts, scale, none, size, rates[size], seeds(scale))
            for name, size in (("small", self.SMALL), ("whole", whole))
        }
        for one in self._settings(scale):
            if one.method != NONE:
                found[one.arm("tune")] = _plan(facts, scale, one, whole, rates[whole], TUNING)
        return found

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        scale, whole = exhibit.scale, exhibit.facts["main"].train_size or 1024
        small = arm_grid(exhibit, f"small, {NONE}")
        rate_of_small = chosen_rate(small, self.SMALL, score=self._score) if self.SMALL in small.tracks else None
        found = {}
        for method, strengths in self.STRENGTHS.items():
            tried = [_setting(method, strength) for strength in strengths]
            best = self._tuned(exhibit, [one for one in tried if one.arm("tune") in exhibit.arms])
            if best is None:
                continue
            setting, rate = best
            found[f"whole, {method}"] = _plan(exhibit.facts, scale, setting, whole, [rate], seeds(scale))
            if rate_of_small is not None and method in (DECAY, SMOOTHING) and scale == "full":
                rates = [rate_of_small]
                found[f"small, {method}"] = _plan(exhibit.facts, scale, setting, self.SMALL, rates, seeds(scale))
        return found

    def _tuned(self, exhibit: Exhibit, settings: list[_Setting]) -> tuple[_Setting, float] | None:
        """Return the setting and rate with the best validation accuracy of those that fitted the training set."""
        found = []
        for setting in settings:
            grid = arm_grid(exhibit, setting.arm("tune"), role=setting.role)
            for size in grid.batch_sizes():
                rate = chosen_rate(grid, size, score=self._score)
                if rate is not None:
                    row = list(grid.rates(size)).index(rate)
                    found.append((float(grid.table(size, self._score)[row].mean()), setting, rate))
        best = min(found, key=lambda one: one[0], default=None)
        return None if best is None else (best[1], best[2])

    def _score(self, track: Track) -> float:
        return -self._if_fitted("validation_accuracy")(track)

    def _if_fitted(self, quantity: str) -> Reader:
        """Return a reader of a quantity at the end; NaN for a network that does not fit its training set."""
        fitted, read = at_end("train_accuracy"), at_end(quantity)
        return lambda track: read(track) if fitted(track) >= self.FITTED else np.nan

    def _gap(self, track: Track) -> float:
        return self._if_fitted("train_accuracy")(track) - self._if_fitted("test_accuracy")(track)

    def _where_matched(self, track: Track) -> float:
        step = steps_to("train_loss", self.MATCHED, "below")(track)
        return value_at(track.step, track.values["test_accuracy"], step) if np.isfinite(step) else np.nan

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        margin = accuracy_margin(exhibit.facts["main"].test_size)
        tests = {
            arm: self._by_seed(exhibit, arm, self._if_fitted("test_accuracy"))
            for arm in exhibit.arms if not arm.startswith("tune")
        }  # fmt: skip
        gaps, matched = (
            [self._by_seed(exhibit, f"{size}, {NONE}", read) for size in ("whole", "small")]
            for read in (self._gap, self._where_matched)
        )
        parts = [
            direction(
                "the whole set has the wider gap", differences(*gaps), unit="accuracy", margin=margin,
                definition=f"training less test accuracy, whole set less B = {self.SMALL}, nothing else regularizes",
            ),
            direction(
                "so it is at the same training loss", differences(*matched[::-1]), unit="test accuracy", margin=margin,
                definition=f"test accuracy at B = {self.SMALL} less that of the whole set where training loss is {self.MATCHED}",
            ),
            self._necessary(tests, self._best_regularized(exhibit, tests), margin),
            *self._regularized(tests, margin),
        ]  # fmt: skip
        names = [f"{size}, {method}" for method in self.STRENGTHS for size in ("small", "whole")]
        lines = []
        for size in ("small", "whole"):
            columns: dict[float, BySeed] = {
                place: tests[name] for place, name in enumerate(names, 1) if name in tests and name.startswith(size)
            }
            lines.append(line(size, list(columns), stacked(columns)))
        shown = "; ".join(f"{place} {name}" for place, name in enumerate(names, 1) if name in tests)
        figure = Figure(f"cell ({shown})", "test accuracy", tuple(lines), log_x=False)
        return verdict(self.id, exhibit, parts, figure=figure)

    def _necessary(self, tests: Mapping[str, BySeed], best: BySeed, margin: float) -> Part:
        """Return whether noise does what no explicit regularizer does; one that does the same refutes it."""
        found = direction(
            "no explicit regularizer replaces the noise", differences(tests.get(f"small, {NONE}", {}), best),
            unit="test accuracy", margin=margin,
            definition=f"test accuracy at B = {self.SMALL} less that of the whole set with its best regularizer",
        )  # fmt: skip
        threshold = f"{found.threshold}; within ±{margin:g} (90% interval) it is refuted"
        outcome = Outcome.REFUTED if found.outcome is Outcome.EQUIVALENT else found.outcome
        return dataclasses.replace(found, outcome=outcome, threshold=threshold)

    def _best_regularized(self, exhibit: Exhibit, tests: Mapping[str, BySeed]) -> BySeed:
        """Return the test accuracy of the whole set with the regularizer that validates best on the other seeds."""
        arms = [f"whole, {method}" for method in self.STRENGTHS if method != NONE and f"whole, {method}" in tests]
        selected = {arm: self._by_seed(exhibit, arm, self._if_fitted("validation_accuracy")) for arm in arms}
        found = {}
        for seed in {one for values in selected.values() for one in values}:
            means = {}
            for arm, values in selected.items():
                others = [value for one, value in values.items() if one != seed]
                if seed in tests[arm] and others:
                    means[arm] = np.mean(others)
            if means:
                found[seed] = tests[max(means, key=lambda arm: means[arm])][seed]
        return found

    def _regularized(self, tests: Mapping[str, BySeed], margin: float) -> Iterator[Part]:
        for method in (DECAY, SMOOTHING):
            if f"small, {method}" in tests and f"whole, {method}" in tests:
                yield direction(
                    f"with {method} a small batch is still ahead",
                    differences(tests[f"small, {method}"], tests[f"whole, {method}"]), unit="test accuracy",
                    margin=margin, counts=False,
                    definition=f"test accuracy at B = {self.SMALL} less that of the whole set, both with {method}",
                )  # fmt: skip

    def _by_seed(self, exhibit: Exhibit, arm: str, read: Reader) -> BySeed:
        """Return what is read of an arm of one batch size, by seed, at the rate that is best for the other seeds."""
        grid = arm_grid(exhibit, arm)
        for size in grid.batch_sizes():
            if len(grid.rates(size)) > 1:
                return tuned_by_seed(grid, size, score=self._score, read=read)
            row = zip(grid.seeds, grid.table(size, read)[0], strict=True)
            return {seed: float(value) for seed, value in row if np.isfinite(value)}
        return {}

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise_helps = {"true": 0.02, "false": 0.0, "silent": 0.02}[world]
        others_help = {"true": 0.004, "false": 0.008, "silent": 0.004}[world]
        scatter = {"true": 0.002, "false": 0.002, "silent": 0.04}[world]
        shared = generator.normal(size=2000)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            small = run.batch_size == self.SMALL
            best = (1 / 4 if small else 1 / 2) / run.learning_rate
            test = 0.89 + noise_helps * small + others_help * (NONE not in arm) - 0.002 * np.log2(best) ** 2
            test += scatter * (0.7 * shared[run.seed] + generator.normal())
            wobble = generator.normal(0, 0.0005, size=len(looks))
            loss = 2.3 * np.exp(-20 * looks / looks[-1])
            fitted = np.minimum(1.0, 1.02 - 0.4 * loss)
            seen = test - 0.1 * np.exp(-8 * looks / looks[-1]) + wobble
            return {
                "train_loss": loss, "train_accuracy": fitted, "validation_accuracy": seen + generator.normal(0, scatter),
                "test_accuracy": seen,
            }  # fmt: skip

        return values


def _plan(
    facts: Mapping[str, TaskFacts], scale: Scale, setting: _Setting, size: int, rates: list[float] | tuple[float, ...],
    numbers: range,
) -> Plan:  # fmt: skip
    small = size == NoiseIsTheRegularizer.SMALL
    epochs, updates = (40, 1000) if scale == "full" else (4, 40)
    budget: Budget = Epochs(epochs * setting.steps) if small else Steps(updates * setting.steps)
    sampling = setting.sampling
    if isinstance(sampling, Repeated):
        sampling = dataclasses.replace(sampling, last_batch=order(facts[setting.role], size).last_batch)
    return runs(
        facts[setting.role], batch_sizes=[size], rates=rates, seeds=numbers, budget=budget, optimizer=setting.optimizer,
        sampling=sampling,
    )  # fmt: skip
