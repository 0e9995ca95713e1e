"""MCC-1, MCC-2, MCC-6: McCandlish et al. (2018) on steps against examples, and what the noise scale says about them."""

import math
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.heights import Heights, fitted
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Part, Scale, Verdict, World
from ..curves.hyperbola import Hyperbola
from ..curves.power_law import PowerLaw
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.loss_goals import examples_line, goal_heights, loss_goals
from ..judging.noise_scale import NOISE, NoiseTracks, mean_over_steps, noise_arm, noise_tracks
from ..judging.one_step import best_rates, changes, left_over_part, made_up, measured_arm, path_arm
from ..judging.parts import DECISIVE, all_of, band, nothing, verdict
from ..judging.protocol import common_sweep
from ..judging.reading import arm_grid
from ..plan import Plan, Run
from ..statistics.information import aicc
from ..statistics.resampling import margin_of, replicate_estimate, seed_groups
from ..statistics.saturating import Saturating, saturating, unexplained

SOURCE = "McCandlish et al. (2018), arXiv:1812.06162"
SHARES = (0.3, 0.45, 0.6, 0.75, 0.9)  # of the way to what every batch size reaches, in log loss: the five goals
LEVEL = 0.95


@final
class StepsAgainstExamples(Claim):
    """At each of five goals of training loss: the hyperbola's residual, and its rival without a bend."""

    id = "MCC-1"
    statement = "Steps and examples to a training loss trade off along a hyperbola: (S/S_min - 1)(E/E_min - 1) = 1."
    source = f"{SOURCE}, Equation 2.11"
    about = "optimization"
    kinds = (Kind.MODEL,)
    budget = "steps and examples to five goals of training loss"
    policy = "tuned at each batch size and goal, between the rates tried, anew without each seed"
    reads_sweep = True

    RESIDUAL = 0.15  # root mean square of log steps
    FEWEST_SIZES = 5
    MOST_FAILURES = 1  # of five goals

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"sweep": common_sweep(facts["main"], scale)}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "sweep")
        goals = loss_goals(grid, SHARES)
        found = [goal_heights(grid, goal) for goal in goals]
        parts = [self._at_goal(goal, one) for goal, one in zip(goals, found, strict=True)]
        won, lost = (sum(part.outcome is one for part in parts) for one in (Outcome.SUPPORTED, Outcome.REFUTED))
        if not parts:
            why = "some batch size never lowered the training loss"
            return verdict(self.id, exhibit, [self._nothing("the hyperbola describes steps to target", why)])
        outcome = Outcome.INCONCLUSIVE
        if won >= len(SHARES) - self.MOST_FAILURES:
            outcome = Outcome.SUPPORTED
        elif lost > self.MOST_FAILURES:
            outcome = Outcome.REFUTED
        reason = f"the hyperbola holds at {won} of {len(parts)} goals and fails at {lost}"
        lines = tuple(examples_line(f"training loss {goal:.2g}", one) for goal, one in zip(goals, found, strict=True))
        figure = Figure("batch size", "examples to a training loss", lines, log_y=True)
        return verdict(self.id, exhibit, parts, outcome=outcome, reason=reason, figure=figure)

    def _at_goal(self, goal: float, found: Heights) -> Part:
        """Return whether the hyperbola fits at one goal: its residual, and the distance of the power law in AICc."""
        name = f"at training loss {goal:.3g}"
        if len(found.sizes) < self.FEWEST_SIZES or not found.groups or not np.isfinite(found.logs).all():
            why = f"needs {self.FEWEST_SIZES} batch sizes that get there with every seed, and two seeds; got {len(found.sizes)}"
            return self._nothing(name, why)
        residuals = _residuals(Hyperbola(), found)
        sizes = np.sqrt((residuals**2).mean(1))
        delta = _criterion(PowerLaw(), found) - _criterion(Hyperbola(), found)
        half = margin_of(np.log(np.maximum(sizes, 1e-12)), found.groups, LEVEL)
        least = float(sizes[0] * np.exp(-half)) if math.isfinite(half) else 0.0
        outcome = Outcome.INCONCLUSIVE
        if sizes[0] < self.RESIDUAL and delta > DECISIVE:
            outcome = Outcome.SUPPORTED
        elif least > self.RESIDUAL or delta < -DECISIVE:
            outcome = Outcome.REFUTED
        effect = Estimate(
            float(sizes[0]), None, None, LEVEL, found.count, "log steps", f"least squares, {found.method}",
            f"root mean square residual of the hyperbola; AICc of a power law less the hyperbola's: {delta:.1f}",
        )  # fmt: skip
        return Part(name, Kind.MODEL, outcome, effect, self._threshold())

    def _threshold(self) -> str:
        return f"residual below {self.RESIDUAL:g} and AICc more than {DECISIVE:g} below a power law's, at 4 of 5 goals"

    def _nothing(self, name: str, why: str) -> Part:
        return nothing(
            name, Kind.MODEL, why, "log steps", "root mean square residual of the hyperbola", self._threshold()
        )

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = {"true": 0.1, "false": 0.1, "silent": 0.5}[world]
        by_seed = generator.normal(size=64)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            size = run.batch_size
            needed = {"true": 200 * (1 + 100 / size), "false": 20_000 / size**0.6, "silent": 40_000 / size}[world]
            return _made_up_sweep(run, looks, needed, noise * (0.5 * by_seed[run.seed] + generator.normal()))

        return values


@final
class NoiseScalePredicts(Claim):
    """Mean over five goals of the fitted critical batch size, against the noise scale averaged over the way to the last."""

    id = "MCC-2"
    statement = (
        "The simple noise scale, averaged over training, predicts the critical batch size to an order of magnitude."
    )
    source = f"{SOURCE}, Table 1"
    about = "optimization"
    kinds = (Kind.MODEL,)
    budget = "steps and examples to five goals of training loss; the noise scale up to the last of them"
    policy = "tuned at each batch size; the noise scale at a middle batch size and its best rate"
    published = "MNIST: simple noise scale 900, critical batch size 200, both averaged over training (paper)"

    FACTOR = 1.0  # of ten

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"sweep": common_sweep(facts["main"], scale)}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        return noise_arm(exhibit, "sweep")

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "sweep")
        goals = loss_goals(grid, SHARES)
        along = noise_tracks(exhibit, NOISE)
        found = [goal_heights(grid, goal) for goal in goals]
        criticals, notes = _criticals(found), []
        effect = self._distance(found, criticals, along, goals)
        if along is not None and criticals.size:
            scale = mean_over_steps(*_until(along, goals[-1]))
            notes = [f"simple noise scale {scale[0]:.3g}, averaged over steps up to training loss {goals[-1]:.3g}"]
            notes += [
                f"training loss {goal:.3g}: E_min/S_min {row[0]:.3g}"
                for goal, row in zip(goals, criticals, strict=True)
            ]
        part = band("log10 of noise scale over critical batch size", effect, -self.FACTOR, self.FACTOR, kind=Kind.MODEL)
        figure = None
        if along is not None:
            lines = (line("simple noise scale", list(1 + along.steps), along.scales, logarithmic=True),)
            figure = Figure("steps + 1", "examples", lines, log_y=True)
        return verdict(self.id, exhibit, [part], figure=figure, notes=notes)

    def _distance(
        self, found: Sequence[Heights], criticals: np.ndarray, along: NoiseTracks | None, goals: Sequence[float]
    ) -> Estimate:  # fmt: skip
        words = {
            "unit": "powers of ten",
            "definition": "log10 of the simple noise scale, averaged over steps, over E_min/S_min, geometric mean of the goals",
        }
        if not goals or along is None:
            return Estimate.missing("some batch size never trained, or the noise was not measured", **words)
        if not criticals.size:
            return Estimate.missing(
                "too few batch sizes reach every goal with every seed, or there is one seed", **words
            )
        if not (np.isfinite(criticals) & (criticals > 0)).all():
            why = "the hyperbola has no critical batch size at every goal: steps do not fall, or do not level off"
            return Estimate.missing(why, **words)
        scale = mean_over_steps(*_until(along, goals[-1]))
        if scale.shape != criticals[0].shape or not np.isfinite(scale).all():
            return Estimate.missing("the noise scale is not known for every seed", **words)
        values = np.log10(scale) - np.log10(criticals).mean(0)
        return replicate_estimate(
            values,
            found[0].groups,
            level=LEVEL,
            count=found[0].count,
            method="delete-one-seed jackknife, Student t",
            **words,
        )

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = {"true": 0.1, "false": 0.1, "silent": 1.5}[world]
        by_seed = generator.normal(size=64)
        factor = {"true": 4.0, "false": 50.0, "silent": 4.0}[world]

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            slower = noise * (0.5 * by_seed[run.seed] + generator.normal())
            found = _made_up_sweep(run, looks, 200 * (1 + 100 / run.batch_size), slower)
            if arm == NOISE:
                scale = 100 * factor * (1 + looks / 300) / 2 * np.exp(noise * generator.normal(size=len(looks)))
                found |= {"gradient_covariance_trace": scale, "gradient_squared_norm": np.ones(len(looks))}
            return found

        return values


@final
class BestRateSaturates(Claim):
    """The best learning rate for one step over batch sizes, against the law and a power law, at frozen parameters."""

    id = "MCC-6"
    statement = (
        "The best learning rate for one step is a maximum over 1 + B_noise/B, with the B_noise of the loss change."
    )
    source = f"{SOURCE}, Equations 2.6 to 2.8"
    about = "optimization"
    kinds = (Kind.MODEL,)
    budget = "one update, from parameters frozen after 0, 1, 10, 100 and 1,000 steps"
    policy = "best of a ladder of rates a factor of 2 apart at each batch size, between its rungs by a parabola"

    LEFT_OVER = 0.1  # of the variance of the log rate: R^2 above 0.9
    AGREEMENT = math.log(2)  # of the two noise scales

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return path_arm(facts["main"], scale)

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        return measured_arm(exhibit)

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        found = changes(exhibit)
        if found is None or len(found.sizes) < 2:
            why = "no step was measured: the path did not train, or lacks seeds"
            words = ("share of variance", "1 - R^2 of the best rate", "95% interval below 0.1")
            return verdict(self.id, exhibit, [nothing("the best rate saturates", Kind.MODEL, why, *words)])
        rates, gains = best_rates(found)
        by_rate, by_gain = saturating(found.scarcity, rates), saturating(found.scarcity, gains)
        parts = [
            left_over_part("the best rate saturates", unexplained(by_rate), self.LEFT_OVER, of="best rate"),
            self._beats_a_power(by_rate, found.sizes, rates),
            self._agreement(by_rate, by_gain),
        ]  # fmt: skip
        lines = tuple(
            line(f"after {step:g} steps", list(found.sizes), rates[:1, look]) for look, step in enumerate(found.steps)
        )
        figure = Figure("batch size", "best learning rate of one step", lines, log_y=True)
        notes = [
            f"after {step:g} steps: B_noise {one:.3g} from the best rate, {two:.3g} from the gain"
            for step, one, two in zip(found.steps, by_rate.scale[0], by_gain.scale[0], strict=True)
            if np.isfinite(one * two)
        ]
        return verdict(self.id, exhibit, parts, outcome=all_of(parts), figure=figure, notes=notes)

    def _beats_a_power(self, by_rate: Saturating, sizes: np.ndarray, rates: np.ndarray) -> Part:
        """Return whether the law describes the best rates better than a power of the batch size, seed by seed."""
        name, unit = "the law beats a power law", "AICc"
        definition = "AICc of a power of the batch size less the law's, all looks with enough batch sizes together"
        threshold = f"95% interval above {DECISIVE:g}; below -{DECISIVE:g} refutes it"
        squares, known = _rival(sizes, rates), np.isfinite(by_rate.squares[0])
        count, curves = int(by_rate.count[0].sum()), int(known.sum())
        ours, theirs = (
            np.array([aicc(float(row[known].sum()), count, 2 * curves) for row in table])
            for table in (by_rate.squares, squares)
        )
        if len(rates) < 3 or not np.isfinite(ours + theirs).all():
            why = "too few batch sizes have their best rate inside the ladder, or too few seeds"
            return nothing(name, Kind.MODEL, why, unit, definition, threshold)
        effect = replicate_estimate(
            theirs - ours, seed_groups(len(rates) - 1), level=LEVEL, count=len(rates) - 1, unit=unit, definition=definition,
            method="delete-one-seed jackknife, Student t",
        )  # fmt: skip
        outcome = Outcome.INCONCLUSIVE
        if effect.low is not None and effect.low > DECISIVE:
            outcome = Outcome.SUPPORTED
        elif effect.high is not None and effect.high < -DECISIVE:
            outcome = Outcome.REFUTED
        return Part(name, Kind.MODEL, outcome, effect, threshold)

    def _agreement(self, by_rate: Saturating, by_gain: Saturating) -> Part:
        name = "both give the same noise scale"
        words = ("log ratio", "log of B_noise from the best rate over B_noise from the gain, mean over looks")
        ratios = np.log(by_rate.scale) - np.log(by_gain.scale)
        kept = np.isfinite(ratios).all(0)
        threshold = f"95% interval within ±{self.AGREEMENT:.3g} (a factor of 2)"
        if len(ratios) < 3 or not kept.any():
            return nothing(name, Kind.MODEL, "too few batch sizes or seeds for both fits", *words, threshold)
        count = len(ratios) - 1
        effect = replicate_estimate(
            ratios[:, kept].mean(1), seed_groups(count), level=LEVEL, count=count, unit=words[0], definition=words[1],
            method="delete-one-seed jackknife, Student t",
        )  # fmt: skip
        return band(name, effect, -self.AGREEMENT, self.AGREEMENT, kind=Kind.MODEL)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = {"true": 0.1, "false": 0.1, "silent": 0.5}[world]
        shift = generator.normal(0, noise, size=64)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray]:
            def curvature(size: int) -> np.ndarray:
                scale = 30 * (1 + looks) ** 0.5 * np.exp(shift[run.seed])
                law, power = 1 + scale / size, (2000 / size) ** 0.5
                wanted = {"true": law, "false": power, "silent": (law * power) ** 0.5}[world]
                return wanted * np.exp(generator.normal(0, noise, size=len(looks)))

            return made_up(run, looks, curvature)

        return values


def _residuals(curve: Hyperbola, found: Heights) -> np.ndarray:
    """Return log steps less the curve's, shape (replicate, size)."""
    steps = curve.steps(found.sizes, fitted(curve, found))
    return found.logs - np.log(np.maximum(steps, 1e-12))


def _criterion(curve: Hyperbola | PowerLaw, found: Heights) -> float:
    """Return AICc of a curve from what single seeds say, less what a seed does to all batch sizes alike."""
    count = found.count
    single = count * found.logs[0] - (count - 1) * found.logs[found.groups[0].rows]
    single = single - single.mean(1, keepdims=True) + single.mean()
    steps = curve.steps(found.sizes, curve.fit(found.sizes, np.exp(found.logs[:1])))
    squares = float(((single - np.log(np.maximum(steps, 1e-12))) ** 2).sum())
    return aicc(squares, single.size - (count - 1), len(curve.names))


def _criticals(found: Sequence[Heights]) -> np.ndarray:
    """Return E_min/S_min at each goal of all seeds and without each, (goal, replicate); NaN where there is none.

    Empty where too few batch sizes or seeds reached some goal.
    """
    if not all(one.groups and len(one.sizes) > 2 and np.isfinite(one.logs).all() for one in found):
        return np.empty((0, 0))
    rows = []
    for one in found:
        s_min, e_min = fitted(Hyperbola(), one).T
        rows.append(np.where((s_min > 0) & (e_min > 0), e_min / np.where(s_min > 0, s_min, 1), np.nan))
    return np.array(rows)


def _until(along: NoiseTracks, goal: float) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and pooled noise scale (replicate, look) up to where the mean training loss reaches `goal`."""
    there = np.flatnonzero(along.losses.mean(0) <= goal)
    last = max(int(there[0]) + 1, 2) if len(there) else len(along.steps)
    return along.steps[:last], along.pooled()[:, :last]


def _rival(sizes: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """Return the squared residuals of a power of the batch size in log `rates` (..., size), of which some may be NaN."""
    known = np.isfinite(rates)
    logs, x = (np.where(known, np.log(table), 0) for table in (np.where(known, rates, 1), sizes))
    count = np.maximum(known.sum(-1, keepdims=True), 1)
    logs, x = (np.where(known, table - table.sum(-1, keepdims=True) / count, 0) for table in (logs, x))
    slope = (logs * x).sum(-1, keepdims=True) / np.maximum((x * x).sum(-1, keepdims=True), 1e-12)
    return ((logs - slope * x) ** 2).sum(-1)


def _made_up_sweep(run: Run, looks: np.ndarray, needed: float, slower: float) -> dict[str, np.ndarray | float]:
    """Return a training loss that falls within `needed` steps at the best rate, later by the factor e^slower."""
    best = min(2.0 ** (5 * np.log(run.batch_size) / np.log(256) - 5), 1.0)
    needed *= np.exp(0.1 * np.log2(run.learning_rate / best) ** 2 + slower)
    loss = 2.3 * np.exp(-((looks / needed) ** 1.2))
    return {"train_loss": loss, "validation_accuracy": 1 - loss / 3}
