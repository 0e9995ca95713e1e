"""Hoffer et al. (2017): train longer, generalize better. The gap of large batches as a matter of the number of updates."""

from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..bed import Bed
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Part, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.batch_gap import apart, final_metrics, gap_beds, large_arms, made_up_gap, not_worse, tuned_small
from ..judging.distance_law import fits_by_seed, paths
from ..judging.figures import line
from ..judging.parts import accuracy_margin, band, direction, equivalence, nothing, slope_estimate, verdict
from ..judging.protocol import common_budget, common_rates, runs, seeds
from ..judging.reading import arm_grid, at_end, chosen_rate, worse
from ..judging.scaled import turned
from ..judging.update_variance import log_variances, made_up_variances, shown, watched
from ..measurements.distance import DistanceFromStart
from ..plan import Plan, Run
from ..statistics.means import mean_estimate

SOURCE = "Hoffer, Hubara and Soudry (2017), arXiv:1705.08741"
POLICY = (
    "tuned at batch size 32 on validation (seven rates a factor of 2 apart), then as it is or times the square root of "
    "the ratio of batch sizes"
)


@final
class EqualUpdatesCloseTheGap(Claim):
    """The gap at equal epochs, and what is left of it at equal updates with the square-root rate.

    The deciding arm has batch normalisation as it is; ghost batch normalisation, rate alone and all together are reported.
    Three layers of 64 units stand for the paper's five of 512, and the large batch is half of the training set.
    """

    id = "HOF-1"
    statement = "A large batch generalizes worse at equal epochs, but no longer once it makes as many updates."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.DIRECTION, Kind.EQUIVALENCE)
    budget = "equal epochs (30) for the gap; equal updates for its closing"
    policy = POLICY
    published = (
        "validation accuracy in %, small batch, large batch, large batch with as many updates: F1 98.27, 97.05, 98.53; "
        "C1 87.80, 83.95, 88.20; C3 61.25, 51.50, 63.20 (second-hand)"
    )

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return gap_beds(scale)

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"tuning": tuned_small(facts["main"], scale)}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        return large_arms(exhibit)

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        metrics = final_metrics(exhibit)
        small = metrics["small"]
        told = {"unit": f"test {facts.metric}"}
        less = f"test {facts.metric} of the small batch less that of the large one"
        margin = accuracy_margin(facts.test_size)
        parts = [
            direction("the large batch is worse at equal epochs", apart(small, metrics["large"]), definition=less, **told),
            not_worse(
                "with equal updates the large batch is as good", apart(metrics["updates"], small), margin=margin,
                definition=f"test {facts.metric} of the large batch with equal updates less that of the small one", **told,
            ),
        ]  # fmt: skip
        others = {
            "rate": "the square-root rate", "ghost": "square-root rate and ghost batch normalisation",
            "ghost updates": "square-root rate, ghost batch normalisation and equal updates",
        }  # fmt: skip
        parts += [
            equivalence(f"{words} alone closes the gap" if arm == "rate" else f"{words} close the gap",
                        apart(small, metrics[arm]), margin=margin, definition=less, counts=False, **told)
            for arm, words in others.items() if arm == "rate" or "ghost" in exhibit.facts
        ]  # fmt: skip
        lines = tuple(
            line(arm, [place], turned(facts) * values[:, None])
            for place, (arm, values) in enumerate(metrics.items(), start=1)
            if len(values)
        )
        figure = Figure("arm", f"test {facts.metric}", lines, log_x=False)
        return verdict(self.id, exhibit, parts, figure=figure)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        losses = {"large": 0.03, "rate": 0.015, "ghost": 0.01, "updates": -0.001, "ghost updates": -0.002}
        return made_up_gap(world, generator, losses | ({"updates": 0.02} if world == "false" else {}))


@final
class GhostBatchNormHelps(Claim):
    """Large batch and square-root rate, with batch normalisation over the whole batch against over groups of 32."""

    id = "HOF-2"
    statement = "Ghost batch normalisation narrows the generalization gap of a large batch without more updates."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.DIRECTION,)
    budget = "equal epochs (30)"
    policy = POLICY
    why_not_yours = (
        "It compares batch normalisation with ghost batch normalisation, for which a model has to be rebuilt."
    )

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return gap_beds(scale)

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"tuning": tuned_small(facts["main"], scale)}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        found = large_arms(exhibit)
        return {arm: found[arm] for arm in ("small", "rate", "ghost") if arm in found}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        metrics = final_metrics(exhibit)
        told = {"unit": f"test {facts.metric}"}
        parts = [
            direction(
                "ghost batch normalisation tests better than batch normalisation at the large batch size",
                apart(metrics["ghost"], metrics["rate"]), margin=accuracy_margin(facts.test_size),
                definition=f"test {facts.metric} with ghost batch normalisation less that with batch normalisation", **told,
            ),
            direction(
                "there is a gap to narrow", apart(metrics["small"], metrics["rate"]), counts=False,
                definition=f"test {facts.metric} of the small batch less that of the large one", **told,
            ),
        ]  # fmt: skip
        return verdict(self.id, exhibit, parts)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        return made_up_gap(world, generator, {"rate": 0.015, "ghost": 0.006 if world != "false" else 0.024})


WALK = {"full": (16, 256), "smoke": (4, 64)}  # small and large batch size
UPDATES = {"full": 2000, "smoke": 80}
PREFER = 4.0  # AICc
SHARE = 0.75  # of the seeds
SAME = 0.5  # log2 of the ratio of slopes


@final
class LogarithmicDistance(Claim):
    """The distance from the start at a constant learning rate, the best one of the common sweep at batch size 16.

    Distances are read at steps a factor of 1.2 apart. Along one path they are not independent, which flatters the AICc of
    either formula alike; hence it is asked of three quarters of the seeds. Slopes are compared at batch size 256 against
    16, by the ratio: "the same" is within a factor of 1.41, where a fixed rate without drift would give 4.
    """

    id = "HOF-3"
    statement = (
        "Weights leave their start like the logarithm of the number of updates, at a pace that does not depend on the batch "
        "size if the learning rate grows with its square root."
    )
    source = SOURCE
    about = "optimization"
    kinds = (Kind.MODEL, Kind.TREND)
    budget = "equal updates (2,000), constant learning rate"
    policy = "tuned at batch size 16 on validation; at 256 the same, or times 4 (square root)"
    published = "figures alone (paper)"

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        main = facts["main"]
        small = [min(WALK[scale][0], main.train_size or 1)]
        rates = {size: common_rates(main, size, scale) for size in small}
        return {"tuning": runs(main, batch_sizes=small, rates=rates, seeds=seeds(scale), budget=common_budget(scale))}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        grid = arm_grid(exhibit, "tuning")
        if not grid.batch_sizes():
            return {}
        facts, small = exhibit.facts["main"], grid.batch_sizes()[0]
        rate = chosen_rate(grid, small, score=worse(grid, at_end(f"{facts.selection_split}_{facts.metric}")))
        large = min(WALK[exhibit.scale][1], facts.train_size or small)
        if rate is None or large == small:
            return {}
        wanted = {"small": (small, rate), "root": (large, rate * (large / small) ** 0.5), "fixed": (large, rate)}
        return {
            arm: runs(
                facts, batch_sizes=[size], rates=[chosen], seeds=seeds(exhibit.scale),
                budget=Steps(UPDATES[exhibit.scale]), measurements=(DistanceFromStart(per_decade=25),),
            )
            for arm, (size, chosen) in wanted.items()
        }  # fmt: skip

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grids = {arm: arm_grid(exhibit, arm) for arm in ("small", "root", "fixed") if arm in exhibit.arms}
        fits = {arm: fits_by_seed(grids[arm]) if arm in grids else {} for arm in ("small", "root", "fixed")}
        ratios = {
            arm: np.array([_log_ratio(fits[arm][seed][1], fits["small"][seed][1])
                           for seed in sorted(fits[arm].keys() & fits["small"].keys())])
            for arm in ("root", "fixed")
        }  # fmt: skip
        told = {
            "unit": "log2 ratio",
            "definition": "log2 of the slopes of distance on log updates, large over small batch",
        }
        kept = ratios["root"][np.isfinite(ratios["root"])]
        parts = [
            _prefers("small", fits["small"]),
            _prefers("large, square-root rate", fits["root"]),
            band("with the square-root rate the pace is the same", mean_estimate(kept, **told), -SAME, SAME),
            direction("with a fixed rate the pace is lower", -ratios["fixed"], unit=told["unit"],
                      definition=f"minus {told['definition']}"),
        ]  # fmt: skip
        return verdict(self.id, exhibit, parts, figure=paths(grids))

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = 0.8 if world == "silent" else 0.02
        by_seed = generator.normal(size=64)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            if arm == "tuning":
                metric = 0.9 - 0.01 * np.log2(run.learning_rate / 0.25) ** 2 + 0.002 * generator.normal()
                return {"validation_accuracy": metric, "test_accuracy": metric, "train_loss": 0.1}
            pace = {"small": 1.0, "root": 1.0, "fixed": 0.3}[arm] * np.exp(0.05 * by_seed[run.seed])
            pace *= np.exp(noise * generator.normal())
            rough = noise * np.cumsum(generator.normal(size=len(looks))) / len(looks) ** 0.5
            shape = 0.6 + 0.4 * np.log(np.maximum(looks, 1)) if world != "false" else 0.4 * np.maximum(looks, 1) ** 0.4
            return {"distance_from_start": np.where(looks > 0, pace * np.maximum(shape + rough, 0.01), 0.0)}

        return values


def _log_ratio(one: float, other: float) -> float:
    return float(np.log2(one / other)) if one > 0 and other > 0 else np.nan


def _prefers(which: str, fits: Mapping[int, tuple[float, float]]) -> Part:
    """Return the test of "the logarithm describes the path better", in three quarters of the seeds."""
    name = f"the logarithm describes the distance better than a power ({which} batch)"
    deltas = np.array([delta for delta, _ in fits.values()])
    told = {"unit": "AICc", "definition": "AICc of a t^p less that of a + b log t, mean over seeds"}
    threshold = f"above {PREFER:g} in three quarters of the seeds; below -{PREFER:g} in as many refutes it"
    if len(deltas) < 2:
        return nothing(name, Kind.MODEL, "fewer than two seeds have it", threshold=threshold, **told)
    outcome = Outcome.INCONCLUSIVE
    if (deltas > PREFER).mean() >= SHARE:
        outcome = Outcome.SUPPORTED
    elif (deltas < -PREFER).mean() >= SHARE:
        outcome = Outcome.REFUTED
    return Part(name, Kind.MODEL, outcome, mean_estimate(deltas, **told), threshold)


TOLERANCE = 0.05  # of exponents


@final
class RootRateKeepsCovariance(Claim):
    """Slopes at fixed parameters: at the start of a run, and after 1, 10 and 100 updates.

    Batches are drawn, each a subset of the training set, and their gradients compared. The correction for a finite
    training set, 1 - B/N, is divided out; the update of plain SGD is the gradient times the learning rate.
    """

    id = "HOF-4"
    statement = "A learning rate that grows with the square root of the batch size keeps the covariance of updates."
    source = SOURCE + ", Section 4"
    about = "optimization"
    kinds = (Kind.EXACT,)
    budget = "none: parameters are held fixed"
    policy = "fixed, or in proportion to the square root of the batch size"
    published = "an identity for large training sets (paper)"

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"watched": watched(facts["main"], scale)}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "watched")
        sizes = np.array(shown(grid.facts), dtype=float)
        logs = log_variances(grid, grid.facts.train_size or 0)
        definition = "slope on log batch size of log tr Cov of the update, corrected by 1 - B/N, at fixed parameters"
        told = {"unit": "exponent", "definition": definition}
        parts = [
            band(f"with {words} it is {exponent:g}",
                 slope_estimate(np.log2(sizes), logs + 2 * power * np.log2(sizes), **told),
                 exponent - TOLERANCE, exponent + TOLERANCE, kind=Kind.EXACT)
            for words, power, exponent in (("the square-root rate", 0.5, 0.0), ("a fixed rate", 0.0, -1.0))
        ]  # fmt: skip
        lines = (line("drawn", list(sizes), 2**logs, logarithmic=True),) if len(logs) else ()
        figure = Figure("batch size", "tr Cov of the gradient, corrected", lines, log_y=True)
        return verdict(self.id, exhibit, parts, figure=figure)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        return made_up_variances(world, generator)
