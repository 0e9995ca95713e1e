"""Masters and Luschi (2018): small batches generalize best, and their learning rates are easier to set."""

from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Grid
from ..analysis.readings import common_amount
from ..bed import Bed
from ..budgets.epochs import Epochs
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Part, Scale, Verdict, World
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.learners import Learner, imagined
from ..judging.parts import band, nothing, slope_estimate, verdict
from ..judging.protocol import common_sweep, runs, seeds
from ..judging.reading import arm_grid, at, last, table, tuned, worse
from ..judging.update_variance import log_variances, made_up_variances, shown, watched
from ..plan import Plan, Run
from ..statistics.comparisons import holm, paired_difference
from ..statistics.contingency import fisher_exact

SOURCE = "Masters and Luschi (2018), arXiv:1804.07612"
EPOCHS, UPDATES = 30.0, 2000.0
BEST_LOW, BEST_HIGH = 2, 32
DRAWS = 2000
SURE = 0.95
NEAR = 0.02  # of accuracy: a learning rate this near to the best one counts as good
SLOPE, TOLERANCE = 1.0, 0.05
DEEP = (32,) * 12
DEEP_EPOCHS = 60.0
BASE_RATES = tuple(2.0**power for power in (-12, -9, -6, -3, 0))
DEEP_SIZES = (2, 8, 32, 128, 1024)
LARGE = 128  # and more: not tiny
TRAINED = 0.5  # training accuracy, of 0.1 by chance


@final
class SmallIsBest(Claim):
    """ML-1: judged at equal epochs; the same at equal updates is reported."""

    id = "ML-1"
    statement = "The best test accuracy is reached at a batch size between 2 and 32."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.DIRECTION,)
    budget = "equal epochs (30); equal updates (2,000) reported"
    policy = "tuned at each batch size, chosen on validation by the other seeds"
    published = "best always between 2 and 32; without normalisation AlexNet at most 8, ResNet 2 to 4 (paper)"
    reads_sweep = True

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"sweep": common_sweep(facts["main"], scale)}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "sweep")
        found = [best_is_small(grid, budget, most, counts=budget == "epochs")
                 for budget, most in (("epochs", EPOCHS), ("updates", UPDATES))]  # fmt: skip
        sizes = grid.batch_sizes()
        lines = [line(f"equal {budget}", sizes, tests_at(grid, budget, most))
                 for budget, most in (("epochs", EPOCHS), ("updates", UPDATES))] if sizes else []  # fmt: skip
        return verdict(self.id, exhibit, found, figure=Figure("batch size", f"test {grid.facts.metric}", tuple(lines)))

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        centre = 1024 if world == "false" else 8
        scatter = 0.05 if world == "silent" else 0.003
        lost = 0.0 if world == "silent" else 0.003
        learner = Learner(
            examples=lambda size: 4000.0 + 10 * size,
            best_rate=lambda size: 1 / (1 + 64 / size),
            ceiling=lambda size: 0.92 - lost * np.log2(size / centre) ** 2 / 4,
            scatter=scatter,
        )
        return imagined(learner, generator)


def tests_at(grid: Grid, budget: str, most: float) -> np.ndarray:
    """Return tuned test metrics at an amount of a budget, shape (seed, batch size)."""
    facts = grid.facts
    amount = min(most, common_amount(grid, budget)) if grid.batch_sizes() else most
    select = worse(grid, at(budget, amount, f"{facts.selection_split}_{facts.metric}", facts))
    read = at(budget, amount, f"test_{facts.metric}", facts)
    return table(grid, grid.batch_sizes(), lambda size: tuned(grid, size, score=select, read=read))


def best_is_small(grid: Grid, budget: str, most: float, *, counts: bool) -> Part:
    """Return how surely the best batch size lies between 2 and 32: the share of seeds drawn anew in which it does."""
    name = f"the best batch size lies between {BEST_LOW} and {BEST_HIGH} at equal {budget}"
    definition = "share of bootstrap samples of the seeds in which the best mean test metric is at such a batch size"
    threshold = f"at least {SURE:g} of the samples; at most {1 - SURE:.2g}, and a rival ahead with Holm-adjusted p < 0.05, refutes it"
    told = (name, Kind.DIRECTION)
    sizes = np.array(grid.batch_sizes())
    inside = (sizes >= BEST_LOW) & (sizes <= BEST_HIGH)
    if not inside.any() or inside.all():
        reason = f"the sweep has no batch sizes both inside and outside of {BEST_LOW} to {BEST_HIGH}"
        return nothing(*told, reason, "share", definition, threshold, counts=counts)
    tests = tests_at(grid, budget, most) * (1.0 if grid.facts.better == "above" else -1.0)
    tests = tests[np.isfinite(tests).all(1)]
    if len(tests) < 3:
        return nothing(
            *told, "fewer than three seeds trained at every batch size", "share", definition, threshold, counts=counts
        )
    draws = np.random.default_rng(0).integers(len(tests), size=(DRAWS, len(tests)))
    share = float(inside[tests[draws].mean(1).argmax(1)].mean())
    outcome = Outcome.SUPPORTED if share >= SURE else Outcome.INCONCLUSIVE
    if share <= 1 - SURE and is_beaten(tests[:, inside], tests[:, ~inside]):
        outcome = Outcome.REFUTED
    effect = Estimate(share, None, None, SURE, len(tests), "share", f"bootstrap of seeds, {DRAWS} draws", definition)
    return Part(*told, outcome, effect, threshold, counts=counts)


def is_beaten(favourites: np.ndarray, rivals: np.ndarray) -> bool:
    """Return whether one rival (seed, rival) is ahead of the best favourite (seed, favourite): paired t, Holm."""
    best = favourites[:, favourites.mean(0).argmax()]
    found = [paired_difference(one - best, equivalence_margin=0.0) for one in rivals.T]
    adjusted = holm([one.t_p for one in found])
    return any(p < 1 - SURE and one.mean > 0 for p, one in zip(adjusted, found, strict=True))


@final
class RangeShrinks(Claim):
    """ML-2: octaves of the base learning rate, that of one example, that come within two points of the best accuracy."""

    id = "ML-2"
    statement = "The range of base learning rates that train well shrinks as the batch grows."
    source = SOURCE
    about = "optimization"
    kinds = (Kind.TREND,)
    budget = "equal epochs (30)"
    policy = "all rates of the grid, a factor of 2 apart, counted"
    published = "figures only (paper)"
    reads_sweep = True

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"sweep": common_sweep(facts["main"], scale)}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "sweep")
        sizes = grid.batch_sizes()
        own, best = good_octaves(grid, by_size=True), good_octaves(grid, by_size=False)
        parts = [
            band(f"the range shrinks, beside {words}",
                 slope_estimate(np.log2(sizes), counts, unit="octaves per doubling",
                                definition=f"slope on log2 batch size of the octaves of learning rates within {NEAR:g} of {words}"),
                 -np.inf, 0.0)
            for words, counts in (("the batch size's own best", own), ("the best of all batch sizes", best))
        ]  # fmt: skip
        lines = (line("of its own best", sizes, own), line("of the best of all", sizes, best)) if sizes else ()
        notes = ("a range that reaches the end of the grid of learning rates is counted as far as the grid goes",)
        return verdict(
            self.id, exhibit, parts, figure=Figure("batch size", "octaves of good learning rates", lines), notes=notes
        )

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = 0.2 if world == "silent" else 0.004
        by_seed = generator.normal(size=64)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            octave = np.log2(run.batch_size)
            narrow = {"true": 0.25, "false": -0.25, "silent": 0.0}[world] * (octave - 5.5)
            apart = np.log2(run.learning_rate / (1 / (1 + 64 / run.batch_size)))
            width = max(2.2 - 0.5 * narrow, 0.4)
            lost = 0.02 * (apart / width) ** 2 + (0.004 * max(narrow, 0) if world != "false" else 0.0)
            seen = 0.92 - lost + noise * (0.6 * by_seed[run.seed % 64] + 0.8 * generator.normal())
            return {"train_loss": 0.1, "validation_accuracy": seen, "test_accuracy": seen}

        return values


def good_octaves(grid: Grid, *, by_size: bool) -> np.ndarray:
    """Return how many octaves of learning rates come near the best accuracy, shape (seed, batch size).

    Args:
        grid: A sweep whose learning rates are evenly spaced.
        by_size: Whether the best is that of the batch size, or of all.
    """
    facts, sizes = grid.facts, grid.batch_sizes()
    if not sizes:
        return np.empty((0, 0))
    amount = min(EPOCHS, common_amount(grid, "epochs"))
    sign = 1.0 if facts.better == "above" else -1.0
    read = at("epochs", amount, f"{facts.selection_split}_{facts.metric}", facts)
    tables = [sign * np.nan_to_num(grid.table(size, read), nan=-sign * np.inf) for size in sizes]
    tops = [one.max(0) for one in tables]
    best = np.max(tops, axis=0)
    near = NEAR if facts.metric == "accuracy" else NEAR * np.abs(best)
    spacing = [
        float(np.median(np.diff(np.log2(grid.rates(size))))) if len(grid.rates(size)) > 1 else 1.0 for size in sizes
    ]
    return np.stack(
        [
            (one >= (top if by_size else best) - near).sum(0) * step
            for one, top, step in zip(tables, tops, spacing, strict=True)
        ],
        axis=1,
    )


@final
class DeepOnlySmall(Claim):
    """ML-3: twelve hidden layers of 32 tanh units without normalisation, on the digits, five base rates a factor of 8 apart.

    With ReLU and default initial weights a pilot found no batch size at which so deep a network trained at all.
    """

    id = "ML-3"
    statement = "Deep networks without normalisation train only with very small batches."
    source = SOURCE
    about = "optimization"
    kinds = (Kind.DIRECTION,)
    budget = "equal epochs (60)"
    policy = "five rates per example, 2^-12 to 1, at every batch size: trained if any of them trains it"
    published = "ResNet-32 without normalisation learns only at batch sizes 2, 4 and 8, at best 76% (paper)"
    why_not_yours = "It needs a deep network without normalisation, which it builds itself."

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": Bed(data="digits", train=1024, hidden=DEEP, activation="tanh", side=8)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        sizes, bases = (DEEP_SIZES, BASE_RATES) if scale == "full" else ((32, 1024), BASE_RATES[1:4:2])
        plan = runs(
            facts["main"], batch_sizes=sizes, rates={size: [size * base for base in bases] for size in sizes},
            seeds=seeds(scale), budget=Epochs(DEEP_EPOCHS if scale == "full" else 2),
        )  # fmt: skip
        return {"deep": plan}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "deep")
        sizes = grid.batch_sizes()
        definition = f"share of seeds that some rate trains to a training accuracy of {TRAINED:g}"
        threshold = f"none at the largest batch, fewer from {LARGE} on (Fisher's exact p < 0.05); most seeds at the largest refute it"
        name = f"trains below batch size {LARGE}, not from there on"
        if not any(size < LARGE for size in sizes) or not any(size >= LARGE for size in sizes) or len(grid.seeds) < 3:
            part = nothing(name, Kind.DIRECTION, "too few runs", "share", definition, threshold)
            return verdict(self.id, exhibit, [part])
        read = last(f"train_{grid.facts.metric}")
        trained = np.stack([(np.nan_to_num(grid.table(size, read)) >= TRAINED).any(0) for size in sizes], axis=1)
        small, large = (trained[:, [is_large(size) is wanted for size in sizes]] for wanted in (False, True))
        counts = [[int(one.sum()), int((~one).sum())] for one in (small, large)]
        p_value = fisher_exact(counts)
        apart = float(small.mean() - large.mean())
        outcome = Outcome.INCONCLUSIVE
        if apart > 0 and p_value < 1 - SURE and not trained[:, -1].any():
            outcome = Outcome.SUPPORTED
        elif trained[:, -1].mean() > 0.5:
            outcome = Outcome.REFUTED
        effect = Estimate(
            apart,
            None,
            None,
            SURE,
            len(grid.seeds),
            "share",
            "difference of shares",
            f"{definition}: below {LARGE} less from it on",
        )
        part = Part(name, Kind.DIRECTION, outcome, effect, threshold, p_value=p_value)
        figure = Figure(
            "batch size", "share of seeds that some rate trains", (line("trained", sizes, trained.astype(float)),)
        )
        return verdict(self.id, exhibit, [part], figure=figure)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            chance = 0.7 if not is_large(run.batch_size) else 0.0
            chance = {"true": chance, "false": 0.7, "silent": 0.08}[world]
            good = 2.0**-7 < run.learning_rate / run.batch_size < 2.0**-2
            seen = 0.9 if good and generator.random() < chance else 0.12
            return {"train_loss": 1.0, "train_accuracy": seen + 0.02 * generator.normal(size=len(looks))}

        return values


def is_large(batch_size: int) -> bool:
    """Return whether a batch is not tiny."""
    return batch_size >= LARGE


@final
class VarianceGrows(Claim):
    """ML-4: with the rate in proportion to the batch size the update's variance is B^2 times the gradient's."""

    id = "ML-4"
    statement = "At a constant base learning rate the variance of one update grows in proportion to the batch size."
    source = SOURCE
    about = "optimization"
    kinds = (Kind.EXACT,)
    budget = "none: parameters are held fixed"
    policy = "in proportion to the batch size"
    published = "an identity for large training sets (paper)"

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"watched": watched(facts["main"], scale)}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "watched")
        sizes = np.array(shown(grid.facts), dtype=float)
        logs = log_variances(grid, grid.facts.train_size or 0) + 2 * np.log2(sizes)
        definition = "slope on log batch size of log tr Cov of the update, corrected by 1 - B/N, at fixed parameters"
        slope = slope_estimate(np.log2(sizes), logs, unit="exponent", definition=definition)
        part = band("the exponent is 1", slope, SLOPE - TOLERANCE, SLOPE + TOLERANCE, kind=Kind.EXACT)
        lines = (line("drawn", list(sizes), 2**logs, logarithmic=True),) if len(logs) else ()
        return verdict(
            self.id, exhibit, [part], figure=Figure("batch size", "tr Cov of the update, corrected", lines, log_y=True)
        )

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        return made_up_variances(world, generator)
