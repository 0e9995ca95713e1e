"""MCC-3, MCC-4, MCC-5: McCandlish et al. (2018) on how the simple noise scale moves: with training, data and temperature."""

import dataclasses
from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..bed import DIGITS, Bed
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.noise_scale import NOISE, PER_DECADE, NoiseTracks, mean_over_steps, noise_arm, noise_tracks
from ..judging.parts import band, direction, equivalence, nothing, slopes_by_seed, verdict
from ..judging.protocol import common_rates, common_row, middle_size, runs, seeds
from ..judging.reading import arm_grid, at_end, chosen_rate
from ..measurements.noise_moments import NoiseMoments
from ..plan import Plan, Run
from ..schedules.milestones import Milestones
from ..statistics.censoring import smooth
from ..statistics.means import mean_estimate

SOURCE = "McCandlish et al. (2018), arXiv:1812.06162"
SIZES = {"full": (500, 1000, 2000, 4000), "smoke": (256, 512, 1024)}  # training sets of MCC-4
STEPS = {"full": 2000, "smoke": 80}
CYCLE = {"full": (300, 4000), "smoke": (40, 100)}  # steps of the pilot and of the cycle of MCC-5
CYCLE_LOOKS = {"full": 25, "smoke": 10}  # a decade: only the later ones of each part count
COLD = (0.25, 0.5)  # from where to where the run is cold, as shares of its steps
PILOT_SEEDS = {"full": 5, "smoke": 2}


@final
class NoiseScaleGrows(Claim):
    """The simple noise scale of the training set along runs at a middle batch size: its trend, and start against average."""

    id = "MCC-3"
    statement = "The simple noise scale grows while the loss falls: averaged over training it is over 3 times that at the start."
    source = f"{SOURCE}, Table 1"
    about = "optimization"
    kinds = (Kind.DIRECTION, Kind.TREND)
    budget = "one run per seed, the common budget: the longer of 30 epochs and 2,000 steps"
    policy = "a middle batch size at its best learning rate on validation"
    published = "MNIST: from 50 at the start to 900 averaged over training (paper)"

    FACTOR = 3.0

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"sweep": common_row(facts["main"], scale, middle_size(facts["main"], scale))}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        return noise_arm(exhibit, "sweep")

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        along = noise_tracks(exhibit, NOISE)
        if along is None:
            why, unit = "the noise was not measured", "rank correlation"
            part = nothing(
                "it grows while the loss falls", Kind.DIRECTION, why, unit, "Spearman's", "95% interval above 0"
            )
            return verdict(self.id, exhibit, [part])
        scales = along.scales
        ranks = np.array([_spearman(one, -loss) for one, loss in zip(scales, along.losses, strict=True)])
        means = np.array([mean_over_steps(along.steps, one[None])[0] for one in scales])
        growth = means / np.where(along.steps[0] == 0, scales[:, 0], np.nan)
        parts = [
            direction(
                "it grows while the loss falls", ranks, unit="rank correlation",
                definition="Spearman's correlation, over the looks of a run, of the noise scale and minus the training loss",
            ),
            band(
                "averaged over training it is larger than at the start",
                mean_estimate(
                    growth[np.isfinite(growth) & (growth > 0)], unit="times", logarithmic=True,
                    definition="noise scale averaged over steps, over that before the first step",
                ),
                self.FACTOR, np.inf,
            ),
        ]  # fmt: skip
        figure = Figure(
            "steps + 1", "simple noise scale (examples)",
            (line("all seeds", list(1 + along.steps), scales, logarithmic=True),), log_y=True,
        )  # fmt: skip
        return verdict(self.id, exhibit, parts, figure=figure)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = {"true": 0.2, "false": 0.2, "silent": 1.5}[world]
        growth = {"true": 0.5, "false": -0.3, "silent": 0.1}[world]

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            loss = 2.3 * np.exp(-((looks / 100) ** 0.5)) + 0.01
            scale = (
                50 * (1 + looks) ** growth * np.exp(noise * (generator.normal() + generator.normal(size=len(looks))))
            )
            return _recorded(run, loss, scale)

        return values


@final
class IndependentOfDataSize(Claim):
    """Nested training sets of four sizes, trained alike: the noise scale of each set at four losses that all of them reach.

    Batch size 32 at rate 0.25 on all of them, since the noise scale depends on the temperature (MCC-5).
    """

    id = "MCC-4"
    statement = "At equal training loss the simple noise scale does not depend on the size of the training set."
    source = SOURCE
    about = "optimization"
    kinds = (Kind.EQUIVALENCE,)
    budget = "equal training loss, at four goals; runs of 2,000 steps"
    policy = "the same batch size and learning rate for all"
    why_not_yours = "It needs training sets of four sizes, each a part of the next, which only the test beds have."

    BATCH, RATE = 32, 0.25
    SHARES = (0.3, 0.5, 0.7, 0.9)  # of the way to what all sets reach, in log loss
    MARGIN = 0.2

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        largest = Bed(train=SIZES[scale][-1]) if scale == "full" else DIGITS
        return {str(size): dataclasses.replace(largest, train=size) for size in SIZES[scale]}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        measured = NoiseMoments(examples=max(SIZES[scale]), per_decade=PER_DECADE[scale])
        return {
            role: runs(
                one, batch_sizes=[self.BATCH], rates=[self.RATE], seeds=seeds(scale), budget=Steps(STEPS[scale]),
                measurements=[measured],
            )
            for role, one in facts.items()
        }  # fmt: skip

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        found = {int(role): noise_tracks(exhibit, role, role=role) for role in exhibit.arms}
        along = {size: one for size, one in sorted(found.items()) if one is not None}
        goals = self._goals(list(along.values()))
        count = max((len(one.losses) for one in along.values()), default=0)
        words = {
            "unit": "log examples per log examples",
            "definition": "slope of log noise scale on log size of the training set",
        }
        name = "the noise scale does not change with the training set"
        if len(along) < 3 or not goals or any(len(one.losses) < count for one in along.values()):
            why = "fewer than three training sets trained with every seed"
            part = nothing(
                name, Kind.EQUIVALENCE, why, words["unit"], words["definition"], f"90% interval within ±{self.MARGIN:g}"
            )
            return verdict(self.id, exhibit, [part])
        logs = np.array([[_log_scale_at(one, goal) for one in along.values()] for goal in goals])  # (goal, size, seed)
        slopes = np.stack([slopes_by_seed(np.log(list(along)), table.T) for table in logs])  # (goal, seed)
        known = np.isfinite(slopes)
        means = np.where(known.any(0), np.where(known, slopes, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)
        parts = [equivalence(name, means, margin=self.MARGIN, **words)]
        lines = tuple(
            line(f"training loss {goal:.2g}", list(along), np.exp(table.T), logarithmic=True)
            for goal, table in zip(goals, logs, strict=True)
        )
        figure = Figure("training examples", "simple noise scale (examples)", lines, log_y=True)
        return verdict(self.id, exhibit, parts, figure=figure)

    def _goals(self, along: list[NoiseTracks]) -> list[float]:
        """Return training losses between the start and what every set reaches in the mean, shares in log loss."""
        start = np.mean([one.losses[:, 0].mean() for one in along]) if along else np.nan
        end = max((np.median(one.losses[:, -3:], axis=1).mean() for one in along), default=np.nan)
        return [float(start * (end / start) ** share) for share in self.SHARES] if 0 < end < start else []

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = {"true": 0.1, "false": 0.1, "silent": 1.5}[world]
        power = 0.6 if world == "false" else 0.0
        by_seed = generator.normal(size=64)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            apart = noise * (by_seed[run.seed] + generator.normal())
            loss = 2.3 * np.exp(-((looks / 50) ** 0.4)) * np.exp(0.02 * generator.normal(size=len(looks)))
            scale = 50 * (2.3 / loss) ** 1.2 * (int(arm) / 1000) ** power * np.exp(apart)
            return _recorded(run, loss, scale * np.exp(noise / 2 * generator.normal(size=len(looks))))

        return values


@final
class InverseToTemperature(Claim):
    """One run per seed in three parts: hot, then at a sixteenth of the learning rate, then hot again.

    The noise scale is averaged over the second half of the cold part, and over the last three quarters of the hot ones,
    which settle 16 times faster; the last part is twice as long, since looks thin out. Cold is compared with the
    geometric mean of the hot parts around it, so that a drift about cancels. The set is large (8,000) so that it is not
    learned by heart meanwhile. The schedule is a step of a factor of 16 downwards, then upwards.
    """

    id = "MCC-5"
    statement = "The simple noise scale is inversely proportional to the temperature, learning rate over batch size, reversibly."
    source = f"{SOURCE}, Figure 15"
    about = "optimization"
    kinds = (Kind.MODEL, Kind.EQUIVALENCE)
    budget = "4,000 steps: 1,000 hot, 1,000 cold, 2,000 hot"
    policy = "batch size 16; hot: the rate with the lowest training loss after 300 steps; cold: a sixteenth of it"
    published = "a temperature 16 times lower gives a noise scale about 16 times larger, and back (paper)"

    BATCH, FACTOR = 16, 16.0
    BAND = (8.0, 32.0)
    RETURN = 1.5

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": Bed(train=8000) if scale == "full" else DIGITS}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        main = facts["main"]
        return {
            "pilot": runs(
                main, batch_sizes=[self.BATCH], rates=common_rates(main, self.BATCH, scale),
                seeds=range(PILOT_SEEDS[scale]), budget=Steps(CYCLE[scale][0]),
            )
        }  # fmt: skip

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        main, scale = exhibit.facts["main"], exhibit.scale
        grid = arm_grid(exhibit, "pilot")
        if self.BATCH not in grid.tracks:
            return {}
        hot = chosen_rate(grid, self.BATCH, score=at_end("train_loss"))
        if hot is None:
            return {}
        # the run's own rate is the cold one: 16 times it at the start, once in the middle, 16 times again at the end
        schedule = Milestones((COLD[1],), drop=self.FACTOR, warmup=COLD[0], start=self.FACTOR, gradual=False)
        plan = runs(
            main, batch_sizes=[self.BATCH], rates=[hot / self.FACTOR], seeds=seeds(scale), schedule=schedule,
            budget=Steps(CYCLE[scale][1]), measurements=[NoiseMoments(examples=8192, per_decade=CYCLE_LOOKS[scale])],
        )  # fmt: skip
        return {"cycle": plan}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        along = noise_tracks(exhibit, "cycle")
        names = ("cold over hot", "it comes back")
        if along is None:
            parts = [
                nothing(
                    names[0],
                    Kind.MODEL,
                    "the cycle did not run",
                    "times",
                    "noise scale, cold over hot",
                    self._threshold(),
                )
            ]
            return verdict(self.id, exhibit, parts)
        ends = [share * CYCLE[exhibit.scale][1] for share in (0.0, *COLD, 1.0)]
        before, cold, after = (
            _late(along, ends[part], ends[part + 1], skipped) for part, skipped in enumerate((0.25, 0.5, 0.25))
        )
        ratios = np.exp(cold - (before + after) / 2)
        effect = mean_estimate(
            ratios[np.isfinite(ratios)], unit="times", logarithmic=True,
            definition="noise scale at a sixteenth of the temperature over that at the temperature before and after",
        )  # fmt: skip
        parts = [
            band(names[0], effect, *self.BAND, kind=Kind.MODEL),
            equivalence(
                names[1], after - before, margin=float(np.log(self.RETURN)), unit="log ratio",
                definition="log noise scale in the last hot part less that in the first",
            ),
        ]  # fmt: skip
        inside = effect.low is not None and effect.high is not None and effect.low <= self.FACTOR <= effect.high
        notes = (f"the interval of the ratio {'holds' if inside else 'does not hold'} {self.FACTOR:g}",)
        figure = Figure(
            "steps + 1", "simple noise scale (examples)",
            (line("hot, cold, hot", list(1 + along.steps), along.scales, logarithmic=True),), log_x=False, log_y=True,
        )  # fmt: skip
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    def _threshold(self) -> str:
        return f"95% interval within [{self.BAND[0]:g}, {self.BAND[1]:g}]"

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = {"true": 0.1, "false": 0.1, "silent": 1.5}[world]
        by_seed = generator.normal(size=64)
        jump = 1.0 if world == "false" else self.FACTOR

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            begins, ends = (share * looks[-1] for share in COLD)
            warmer = np.exp(-np.maximum(looks - ends, 0) / 20)  # hot settles sooner than cold
            cold = np.where(looks > begins, 1 - np.exp(-np.maximum(looks - begins, 0) / 100), 0.0) * warmer
            own = by_seed[run.seed] + generator.normal() * (looks > begins)
            own = own + generator.normal(size=len(looks)) + generator.normal() * (looks > ends)
            scale = 50 * (1 + 0.05 * looks / looks[-1]) * jump**cold * np.exp(noise * own)
            loss = 0.3 + 2 * np.exp(-looks / 100) + 0.1 * np.log2(run.learning_rate / 0.25) ** 2
            return _recorded(run, loss, scale)

        return values


def _late(along: NoiseTracks, start: float, end: float, skipped: float) -> np.ndarray:
    """Return the mean log noise scale of each seed from a share `skipped` of a part on, shape (seed,)."""
    late = (along.steps > start + skipped * (end - start)) & (along.steps <= end)
    logs = np.log(along.scales[:, late])
    known = np.isfinite(logs)
    return np.where(known.any(1), np.where(known, logs, 0).sum(1) / np.maximum(known.sum(1), 1), np.nan)


def _recorded(run: Run, loss: np.ndarray, scale: np.ndarray) -> dict[str, np.ndarray | float]:
    found: dict[str, np.ndarray | float] = {"train_loss": loss, "validation_accuracy": 1 - loss / 10}
    if run.measurements:
        found |= {"gradient_covariance_trace": scale * loss, "gradient_squared_norm": loss}
    else:
        found["validation_accuracy"] = 0.9 - 0.01 * np.log2(run.learning_rate / 0.25) ** 2
    return found


def _spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Return the rank correlation of what is known of both; NaN with fewer than four points.

    Source: Spearman (1904), American Journal of Psychology 15, 72-101; ties are broken by order.
    """
    known = np.isfinite(one) & np.isfinite(other)
    if known.sum() < 4:
        return np.nan
    ranks = [np.argsort(np.argsort(values[known])).astype(float) for values in (one, other)]
    return float(np.corrcoef(ranks)[0, 1])


def _log_scale_at(along: NoiseTracks, goal: float) -> np.ndarray:
    """Return each seed's log noise scale where its training loss first passes `goal`, shape (seed,); NaN if never.

    Interpolated in the logarithms of both between looks.
    """
    found = []
    for scales, losses in zip(along.scales, along.losses, strict=True):
        logs, heights = np.log(scales), np.log(np.maximum(smooth(losses), 1e-12))
        below = np.flatnonzero(heights <= np.log(goal))
        if not len(below) or below[0] == 0:
            found.append(np.nan)
            continue
        last = below[0]
        share = (heights[last - 1] - np.log(goal)) / (heights[last - 1] - heights[last])
        found.append(float(logs[last - 1] + share * (logs[last] - logs[last - 1])))
    return np.array(found)
