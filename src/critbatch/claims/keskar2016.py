"""Keskar et al. (2016): large batches end in sharp minima, which generalize worse."""

from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..bed import Bed
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Line, Outcome, Part, Scale, Verdict, World
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.pairs import BySeed, differences, tuned_by_seed
from ..judging.parts import LEVEL, accuracy_margin, band, direction, nothing, verdict
from ..judging.reading import arm_grid, arm_values, at_end, last, worse
from ..judging.scaled import turned
from ..judging.two_regimes import (
    BUDGET,
    EPOCHS,
    MATCHED,
    POLICY,
    RATE,
    both,
    by_seed,
    log_ratios,
    measured_regimes,
    regime,
    regime_bed,
    regime_sizes,
    sharpness_of,
)  # fmt: skip
from ..measurements.solution_line import SolutionLine
from ..minima.lines import POSITIONS
from ..optimizers.adam import Adam
from ..plan import Plan, Run
from ..statistics.means import mean_estimate
from ..task import Target

SOURCE = "Keskar, Mudigere, Nocedal, Smelyanskiy and Tang (2016), arXiv:1609.04836"
FITTED = 0.995  # training accuracy


@final
class LargeBatchGeneralizesWorse(Claim):
    """The gap, and which of four changes removes it: no normalisation, ghost batches, equal updates, a tuned rate.

    Ghost batches are of the small batch's size. The rate is tuned for each batch size on validation, by the other seeds.
    """

    id = "KES-1"
    statement = "A batch of a tenth of the training set generalizes worse than a small one at equal training accuracy."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.DIRECTION,)
    budget = BUDGET
    policy = POLICY
    published = (
        "test accuracy in %, small and large batch: F1 98.03±.07 and 97.81±.07, F2 64.02 and 59.45, C1 80.04 and 77.26, C2 "
        "89.24 and 87.26, C3 49.58 and 46.45, C4 63.08 and 57.81 (paper); a public re-run on MNIST, batch sizes 32 and 512: "
        "-0.59 points, 89% interval [-0.93, -0.22] (paper)"
    )

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        main = regime_bed(scale)
        small, _ = regime_sizes(main.facts())
        return {"main": main, "plain": regime_bed(scale, "none"), "ghost": regime_bed(scale, f"ghost-{small}")}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        main = facts["main"]
        small, large = regime_sizes(main)
        found = measured_regimes(main, scale)
        if "plain" in facts:
            found |= both(facts["plain"], scale, ("plain small", "plain large"))
            found["ghost"] = regime(facts["ghost"], scale, large)
        updates = Steps(EPOCHS[scale] * ((main.train_size or small) // small))
        if scale == "full":
            found |= both(main, scale, ("tuned small", "tuned large"), rates=(RATE / 4, RATE, 4 * RATE))
            found["updates"] = regime(main, scale, large, budget=updates)
        return found

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        quantity = f"test_{facts.metric}"
        tests = {
            arm: by_seed(exhibit, arm, at_end(quantity), role=arm.split()[0] if arm.split()[0] in exhibit.facts else "main")
            for arm in ("small", "large", "plain small", "plain large", "ghost", "updates")
        }  # fmt: skip
        tests |= {arm: self._tuned(exhibit, arm) for arm in ("tuned small", "tuned large") if arm in exhibit.arms}
        told = {
            "margin": accuracy_margin(facts.test_size), "unit": f"test {facts.metric}",
            "definition": f"test {facts.metric} of the small batch less that of the large one",
        }  # fmt: skip
        sign = turned(facts)
        asked = {
            "the large batch is worse": ("small", "large", True),
            "the gap without batch normalisation": ("plain small", "plain large", False),
            "the gap with ghost batches": ("small", "ghost", False),
            "the gap at equal updates": ("small", "updates", False),
            "the gap with a tuned rate": ("tuned small", "tuned large", False),
        }
        parts = [
            direction(name, sign * differences(tests[one], tests[other]), counts=counts, **told)
            for name, (one, other, counts) in asked.items() if counts or tests.get(other)
        ]  # fmt: skip
        if facts.metric == "accuracy":
            parts.insert(1, _both_fit(exhibit))
        fits = all(part.outcome is Outcome.SUPPORTED for part in parts if part.kind is Kind.EXACT)
        shown = [arm for arm, values in tests.items() if values]
        lines = tuple(line(arm, [place], _row(tests[arm])) for place, arm in enumerate(shown, start=1))
        figure = Figure("arm", f"test {facts.metric}", lines, log_x=False)
        return verdict(self.id, exhibit, parts, outcome=None if fits else Outcome.INCONCLUSIVE, figure=figure)

    def _tuned(self, exhibit: Exhibit, arm: str) -> BySeed:
        grid = arm_grid(exhibit, arm)
        score = worse(grid, at_end(f"{grid.facts.selection_split}_{grid.facts.metric}"))
        sizes = grid.batch_sizes()
        read = at_end(f"test_{grid.facts.metric}")
        return tuned_by_seed(grid, sizes[0], score=score, read=read) if sizes else {}

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        gap, noise = 0.0 if world == "false" else 0.01, 0.03 if world == "silent" else 0.0025
        seeds = generator.normal(size=64)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            lost = gap * (arm in {"large", "plain large", "tuned large"})
            test = 0.92 - lost + noise * (seeds[run.seed] + generator.normal())
            return {"test_accuracy": test, "validation_accuracy": test, "train_accuracy": 0.999, "train_loss": 0.01}

        return values


def _row(values: BySeed) -> np.ndarray:
    return np.array([[one] for one in values.values()])


def _both_fit(exhibit: Exhibit) -> Part:
    """Return whether both regimes fit their training set; if not, a gap may be one of optimization."""
    name, definition = "both fit the training set", "the smaller of two means over seeds of the training accuracy"
    threshold = f"at least {FITTED:g}; less leaves the claim open"
    found = [by_seed(exhibit, arm, at_end("train_accuracy")) for arm in ("small", "large")]
    if not all(found):
        return nothing(name, Kind.EXACT, "a regime has no run", "accuracy", definition, threshold)
    least = min(float(np.mean(list(one.values()))) for one in found)
    outcome = Outcome.SUPPORTED if least >= FITTED else Outcome.INCONCLUSIVE
    effect = Estimate(least, None, None, LEVEL, len(found[0]), "accuracy", "mean over seeds", definition)
    return Part(name, Kind.EXACT, outcome, effect, threshold)


FULL, RANDOM = "keskar_sharpness[full,0.001]", "keskar_sharpness[random,0.001]"
TENFOLD = 1.0  # log10


@final
class LargeBatchMinimaAreSharper(Claim):
    """Metric 2.1 where training ends, and what is left of the difference when other things are held equal.

    Reported beside it: the smaller half width, equal training loss (runs that end at 0.01), batch statistics in place
    of running ones, no normalisation, and four measures that are not this metric, of which adaptive sharpness does not
    change under rescaling of layers.
    """

    id = "KES-2"
    statement = "Minima of large batches are sharper than those of small ones by Metric 2.1."
    source = SOURCE + ", Tables 3 and 4"
    about = "generalization"
    kinds = (Kind.DIRECTION,)
    budget = BUDGET
    policy = POLICY
    published = (
        "sharpness, full space, half width 1e-3, small and large batch: F1 1.23 and 205, F2 1.39 and 311, C1 28.6 and 707, "
        "C2 8.68 and 925, C3 29.9 and 259, C4 12.8 and 422; in random directions F1 .11 and 9.22, C4 6.05 and 73 (paper)"
    )

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": regime_bed(scale), "plain": regime_bed(scale, "none")}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        main, found = facts["main"], measured_regimes(facts["main"], scale)
        if scale == "full":
            measured = sharpness_of(scale)
            target = Target("train_loss", MATCHED[scale], "below")
            found |= both(main, scale, ("matched small", "matched large"), measurements=measured, target=target)
            found |= both(main, scale, ("batch small", "batch large"), measurements=sharpness_of(scale, "batch"))
            if "plain" in facts:
                found |= both(facts["plain"], scale, ("plain small", "plain large"), measurements=measured)
        return found

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        full = _ratio(exhibit, FULL)
        others = {
            "sharper in the full space, half width 5e-4": _ratio(exhibit, "keskar_sharpness[full,0.0005]"),
            "sharper in random directions, half width 5e-4": _ratio(exhibit, "keskar_sharpness[random,0.0005]"),
            "sharper at equal training loss": _ratio(exhibit, FULL, "matched "),
            "sharper by batch statistics": _ratio(exhibit, FULL, "batch "),
            "sharper without batch normalisation": _ratio(exhibit, FULL, "plain "),
            "larger adaptive sharpness": _ratio(exhibit, "adaptive_sharpness[elementwise]"),
            "larger adaptive sharpness at equal training loss": _ratio(
                exhibit, "adaptive_sharpness[elementwise]", "matched "
            ),
            "larger Hessian eigenvalue": _ratio(exhibit, "hessian_largest_eigenvalue"),
            "larger Hessian trace": _ratio(exhibit, "hessian_trace"),
        }
        parts = [
            _sharper("sharper in the full space", full),
            _sharper("sharper in random directions", _ratio(exhibit, RANDOM)),
            band("by an order of magnitude", mean_estimate(full, unit="log10 ratio", definition=DEFINITION), TENFOLD,
                 np.inf, counts=False),
            *(_sharper(name, values, counts=False) for name, values in others.items() if len(values)),
        ]  # fmt: skip
        notes = [
            f"{words}, {arm}: {np.mean(values):.3g}"
            for words, quantity in (("training loss", "train_loss"), ("Metric 2.1", FULL))
            for arm in ("small", "large", "matched small", "matched large", "plain small", "plain large")
            if len(values := list(_of(exhibit, arm, quantity).values()))
        ]
        return verdict(self.id, exhibit, parts, notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        more, noise = -0.5 if world == "false" else 0.6, 2.0 if world == "silent" else 0.1

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            log = 1 + more * arm.endswith("large")
            cases = ("full,0.001", "full,0.0005", "random,0.001", "random,0.0005")
            found = {f"keskar_sharpness[{case}]": 10 ** (log + noise * generator.normal()) for case in cases}
            return {**found, "train_loss": 0.01, "test_accuracy": 0.9}

        return values


DEFINITION = "log10 of the large batch's sharpness over the small one's"


def _of(exhibit: Exhibit, arm: str, quantity: str) -> BySeed:
    return by_seed(exhibit, arm, last(quantity), role="plain" if arm.startswith("plain") else "main")


def _ratio(exhibit: Exhibit, quantity: str, kind: str = "") -> np.ndarray:
    return log_ratios(_of(exhibit, f"{kind}large", quantity), _of(exhibit, f"{kind}small", quantity))


def _sharper(name: str, values: np.ndarray, *, counts: bool = True) -> Part:
    return direction(name, values, unit="log10 ratio", definition=DEFINITION, counts=counts)


@final
class LineIsSharperAtTheLargeEnd(Claim):
    """The training loss on the line from a small batch's solution, at 0, to a large batch's, at 1, of one start.

    A solution's width is the stretch in which the loss stays below twice its own plus 0.1. Where no barrier lies between
    the two both have one stretch in common, and nothing can be told from it; hence the part beyond each end decides, and
    the whole stretch is reported. So are random filter-normalised directions, and a line between two small-batch
    solutions, of which neither end should be sharper.
    """

    id = "KES-3"
    statement = "On the line between a small batch's solution and a large batch's, the loss is sharper at the latter."
    source = SOURCE + ", Figure 3"
    about = "generalization"
    kinds = (Kind.DIRECTION,)
    budget = BUDGET
    policy = POLICY
    published = "figures alone (paper)"

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": regime_bed(scale)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        small, large = regime_sizes(facts["main"])
        measured = (
            SolutionLine(
                batch_size=small, learning_rate=RATE, epochs=EPOCHS[scale], optimizer=Adam(),
                examples=1000 if scale == "full" else 64, directions=4 if scale == "full" else 1,
            ),
        )  # fmt: skip
        asked = {"line": large, "control": small} if scale == "full" else {"line": large}
        return {arm: regime(facts["main"], scale, size, measurements=measured) for arm, size in asked.items()}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        told = {"unit": "log10 ratio", "definition": "log10 of the width at the small batch's end over the other's"}
        parts = [
            direction("the stretch beyond the end is shorter at the large batch's", _widths(exhibit, "line"), **told),
            direction("so is the whole stretch", _widths(exhibit, "line", "line_width"), counts=False, **told),
            direction("and that along filter-normalised directions", _widths(exhibit, "line", "filter_width"),
                      counts=False, **told),
        ]  # fmt: skip
        if "control" in exhibit.arms:
            parts.append(
                direction("(control) one of two small-batch solutions is sharper", _widths(exhibit, "control"),
                          counts=False, **told)
            )  # fmt: skip
        figure = Figure(
            "alpha: small batch at 0, large batch at 1", "training loss", _curves(exhibit), log_x=False, log_y=True
        )
        cut = list(by_seed(exhibit, "line", last("line_width_is_cut")).values())
        notes = [f"share of lines on which a stretch reaches beyond [-1, 2]: {np.mean(cut):.2f}"] if cut else []
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        more, noise = -0.2 if world == "false" else 0.25, 0.6 if world == "silent" else 0.04

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            here = 10 ** (noise * generator.normal() - (more if arm == "line" else 0.0))
            other = 10 ** (noise * generator.normal())
            losses = {
                f"line_loss[{one:g}]": 0.01 + 0.1 * max(-one / other, (one - 1) / here, 0) ** 2 for one in POSITIONS
            }
            both_widths = {f"{name}[{end}]": width for name in ("line_outward", "line_width", "filter_width")
                           for end, width in (("other", other), ("here", here))}  # fmt: skip
            return {**losses, **both_widths, "line_width_is_cut": 0.0, "train_loss": 0.01}

        return values


def _widths(exhibit: Exhibit, arm: str, name: str = "line_outward") -> np.ndarray:
    return log_ratios(*(by_seed(exhibit, arm, last(f"{name}[{end}]")) for end in ("other", "here")))


def _curves(exhibit: Exhibit) -> tuple[Line, ...]:
    names = {"line": "small batch to large batch", "control": "small batch to small batch"}
    found = []
    for arm, name in names.items():
        read = (
            [arm_values(exhibit, arm, last(f"line_loss[{one:g}]")) for one in POSITIONS] if arm in exhibit.arms else []
        )
        if read and len(read[0]):
            found.append(line(name, list(POSITIONS), np.stack(read, 1), logarithmic=True))
    return tuple(found)


@final
class SmallBatchesTravelFurther(Claim):
    """Distances from the common start, where both regimes end.

    Reported beside the ratio: whether it lies between 3 and 10, and how it compares with log(1 + t) of the numbers of
    updates t, as a random walk in a rough landscape would have it (HOF-3).
    """

    id = "KES-6"
    statement = "Small batches end further from where they started than large ones do."
    source = SOURCE + ", Section 4"
    about = "optimization"
    kinds = (Kind.DIRECTION,)
    budget = BUDGET
    policy = POLICY
    published = "3 to 10 times as far (paper)"

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": regime_bed(scale)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return measured_regimes(facts["main"], scale)

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        small, large = (by_seed(exhibit, arm, last("distance_from_start")) for arm in ("small", "large"))
        ratios = log_ratios(small, large)
        told = {"unit": "log10 ratio", "definition": "log10 of the small batch's distance over the large one's"}
        steps = [by_seed(exhibit, arm, lambda track: float(track.step[-1])) for arm in ("small", "large")]
        expected = log_ratios(*({seed: np.log1p(value) for seed, value in one.items()} for one in steps))
        parts = [
            direction("small batches end further away", ratios, **told),
            band("3 to 10 times as far", mean_estimate(ratios, **told), np.log10(3), 1.0, counts=False),
        ]
        if len(expected) == len(ratios) > 1:
            beyond = mean_estimate(
                ratios - expected, unit="log10 ratio", definition="log10 of the ratio over that of log(1 + t)"
            )
            parts.append(
                band("further than the number of updates alone would have it", beyond, 0.0, np.inf, counts=False)
            )
        return verdict(self.id, exhibit, parts)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        more, noise = -0.1 if world == "false" else 0.2, 0.6 if world == "silent" else 0.02

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            return {
                "distance_from_start": 10 ** (0.7 + more * (arm == "small") + noise * generator.normal()),
                "train_loss": 0.01,
            }

        return values
