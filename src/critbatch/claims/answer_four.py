"""K-2 and K-3: the fourth answer to the founding question. Larger batches cost accuracy, and a larger rate brings it back.

Keras itself is not run: what the answer describes is a loop of plain SGD on a multilayer perceptron, and that is what
runs here. "The same learning rate" is one that suits the smallest batch size of 16 or more (the answer begins at 32).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Track
from ..budgets.epochs import Epochs
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Part, Scale, Verdict, World
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.pairs import differences
from ..judging.parts import SIGN_LEVEL, band, direction, equivalence, metric_margin, nothing, slope_estimate, verdict
from ..judging.protocol import runs, seeds
from ..judging.reading import Reader, arm_grid, at, at_end, best_rate_by_seed, table
from ..judging.same_rate import EPOCHS, POLICY, SMALLEST, SWEEP, SameRate, same_rate, same_rate_sweep
from ..plan import Plan, Run
from ..sampling import LastBatch
from ..samplings.growing import Growing
from ..schedules.milestones import Milestones
from ..statistics.comparisons import paired_difference
from ..statistics.plateau import has_converged

LATE = "late switch"
SCATTER = 0.0025  # of the accuracy of made-up runs


@final
class LowerAccuracy(Claim):
    """The slope of test accuracy on the batch size at one learning rate, after equal epochs; told besides: converged."""

    id = "K-2"
    statement = "The larger the batch, the lower the test accuracy, at the same learning rate and after as many epochs."
    source = "fourth answer to the founding question; Shen (2018), Effect of batch size on training dynamics (blog)"
    about = "generalization"
    kinds = (Kind.TREND,)
    budget = "equal epochs (30); told besides: of converged runs"
    policy = POLICY
    reads_sweep = True

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {SWEEP: same_rate_sweep(facts["main"], scale)}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        same = same_rate(exhibit)
        facts = same.grid.facts
        sign = 1.0 if facts.better == "above" else -1.0
        unit = f"test {facts.metric} per doubling"
        after = same.table(at("epochs", same.epochs, f"test_{facts.metric}", facts))
        ends = same.table(_converged_end(facts))
        parts = [
            band(
                name, slope_estimate(np.log2(same.sizes), sign * values, unit=unit, definition=definition),
                -np.inf, 0.0, counts=counts,
            )
            for name, values, definition, counts in (
                ("the larger the batch, the worse the test", after,
                 f"slope after {same.epochs:g} epochs on log2 batch size, above 0 if larger is better", True),
                ("of converged runs as well", ends, "the same slope at the end of runs that stopped improving", False),
            )
        ]  # fmt: skip
        figure = Figure(
            "batch size", f"test {facts.metric} at one learning rate",
            (line(f"after {same.epochs:g} epochs", same.sizes, after), line("converged", same.sizes, ends)),
        )  # fmt: skip
        return verdict(self.id, exhibit, parts, figure=figure, notes=_told(same))

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        slope = {"true": -0.006, "false": 0.004, "silent": 0.0}[world]
        apart = (0.02 if world == "silent" else 0.001) * generator.normal(size=64)  # of seeds' slopes
        return _imagined_ends(lambda run: (slope + apart[run.seed % 64]) * np.log2(run.batch_size), generator)


def _told(same: SameRate) -> tuple[str, ...]:
    rate = same.chosen()
    return ("no learning rate was tried at every batch size",) if rate is None else (f"learning rate {rate:g}",)


def _converged_end(facts: TaskFacts) -> Reader:
    selected, end = f"{facts.selection_split}_{facts.metric}", at_end(f"test_{facts.metric}")

    def read(track: Track) -> float:
        values = track.values.get(selected)
        is_there = values is not None and has_converged(track.step, values, facts.better)
        return end(track) if is_there else np.nan

    return read


def _imagined_ends(gain: Callable[[Run], float], generator: np.random.Generator) -> Imagined:
    """Return training that is at its end from early on.

    Args:
        gain: Of accuracy, of a run; runs that turn to the small batch are as good as those that had it throughout.
        generator: Of seeds' luck and of runs' own.
    """
    luck = generator.normal(size=64)

    def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
        seen_as = dataclasses.replace(run, batch_size=SMALLEST, micro_batch_size=SMALLEST) if arm == LATE else run
        end = 0.9 + gain(seen_as) + SCATTER * (0.6 * luck[run.seed % 64] + 0.8 * generator.normal())
        progress = 1 - np.exp(-looks * run.batch_size / 3000.0)
        seen: dict[str, np.ndarray | float] = {
            "train_loss": 2.3 * (1 - progress) + 1e-9,
            "train_accuracy": 0.1 + 0.9 * progress,
        }
        for split in ("validation", "test"):
            bumps = 0.001 * generator.normal(size=len(looks))
            seen[f"{split}_accuracy"] = 0.1 + (np.clip(end, 0.15, 1.0) - 0.1) * progress + bumps
        return seen

    return values


@final
class RecoveredByRate(Claim):
    """Where the old rate costs accuracy, does the best rate bring it back? And up to which batch size?

    Judged at the smallest batch size at which keeping the baseline's rate loses more than the margin; without such a
    size there is nothing to bring back. The baseline is the smallest batch size at its best rate. Told besides: the
    largest batch size up to which tuning keeps the accuracy, the exponent of the best rate, and a run that turns from
    the large batch to the small one halfway, at one rate.
    """

    id = "K-3"
    statement = "The accuracy that a larger batch loses is kept if the learning rate is raised with the batch."
    source = "fourth answer to the founding question; Shen (2018), Effect of batch size on training dynamics (blog)"
    about = "generalization"
    kinds = (Kind.EQUIVALENCE,)
    budget = "equal epochs (30)"
    policy = "tuned at each batch size, against the smallest one's best; chosen by the other seeds on validation"
    reads_sweep = True

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {SWEEP: same_rate_sweep(facts["main"], scale)}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        same, facts = same_rate(exhibit), exhibit.facts["main"]
        rate, sizes = same.chosen(), same.sizes
        if rate is None or len(sizes) < 2:
            return {}
        size = _first_loss(same) or sizes[-1]
        epochs = EPOCHS[exhibit.scale]
        plan = runs(
            facts, batch_sizes=[size], rates=[rate], seeds=seeds(exhibit.scale), budget=Epochs(epochs),
            schedule=Milestones(fractions=(0.5,), drop=size / sizes[0]),  # undoes that a smaller batch steps less
            sampling=Growing(epochs=(epochs // 2,), shares=(1.0, sizes[0] / size), last_batch=LastBatch.WEIGHT),
        )  # fmt: skip
        return {LATE: plan}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        same = same_rate(exhibit)
        facts, sizes = same.grid.facts, same.sizes
        sign = 1.0 if facts.better == "above" else -1.0
        read = at("epochs", same.epochs, f"test_{facts.metric}", facts)
        best, kept = same.tuned(read), same.table(read)
        size = _first_loss(same)
        if size is None:
            reason = "keeping the learning rate costs more than the margin at no batch size: nothing to bring back"
            part = nothing("the best rate brings it back", Kind.EQUIVALENCE, reason, "", "test metric", "the margin")
            return verdict(self.id, exhibit, [part], notes=_told(same))
        margin, place = metric_margin(facts, best[:, 0]), sizes.index(size)
        of = {"unit": f"test {facts.metric}"}
        parts = [
            equivalence(
                f"at batch size {size} the best rate keeps the accuracy", sign * (best[:, place] - best[:, 0]),
                margin=margin, definition=f"batch size {size} less {sizes[0]}, each at its best rate", **of,
            ),
            direction(
                "the old rate does not", sign * (best[:, 0] - kept[:, place]), counts=False,
                definition=f"batch size {sizes[0]} less {size} at the rate that suits the first", **of,
            ),
            band(
                "the best rate rises with the batch", _exponent(same), 0.0, np.inf, counts=False,
            ),
            *_late(exhibit, same, margin),
        ]  # fmt: skip
        figure = Figure(
            "batch size", f"test {facts.metric} after {same.epochs:g} epochs",
            (line("best rate", sizes, best), line("one rate", sizes, kept)),
        )  # fmt: skip
        notes = [*_told(same), f"tuning keeps the accuracy up to batch size {_kept_up_to(sizes, sign * best, margin)}"]
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        lost = 0.012 if world == "false" else 0.0
        harm = 0.0 if world == "silent" else 0.006  # per squared octave: nothing is lost, nothing can be brought back

        def gain(run: Run) -> float:
            doublings = np.log2(run.batch_size / SMALLEST)
            return -harm * (np.log2(run.learning_rate / 0.25) - 0.5 * doublings) ** 2 - lost * max(doublings, 0.0)

        return _imagined_ends(gain, generator)


def _first_loss(same: SameRate) -> int | None:
    """Return the smallest batch size that clearly loses more than the margin at one rate; None if there is none.

    Clearly: by the sign test, and by Student's with its p-value times the number of batch sizes. A size that was picked
    for its noise would have the noise of the baseline held against the best rate as well.
    """
    facts = same.grid.facts
    sign = 1.0 if facts.better == "above" else -1.0
    values = sign * same.table(at("epochs", same.epochs, f"test_{facts.metric}", facts))
    margin = metric_margin(facts, values[:, :1])
    for size, column in zip(same.sizes[1:], values.T[1:], strict=True):
        lost = values[:, 0] - column
        lost = lost[np.isfinite(lost)]
        if len(lost) < 2:
            continue
        found = paired_difference(lost, equivalence_margin=margin)
        is_clear = max(found.t_p * (len(same.sizes) - 1), found.sign_p) < SIGN_LEVEL
        if is_clear and found.mean > margin:
            return size
    return None


def _exponent(same: SameRate) -> Estimate:
    rates = table(same.grid, same.sizes, lambda size: best_rate_by_seed(same.grid, size, score=same.select()))
    return slope_estimate(
        np.log(same.sizes), np.log(rates), unit="log rate per log batch size",
        definition="slope of the log of the best rate on log batch size",
    )  # fmt: skip


def _late(exhibit: Exhibit, same: SameRate, margin: float) -> Sequence[Part]:
    """Return the statement about runs that turn to the small batch halfway, where there are any."""
    if LATE not in exhibit.arms:
        return ()
    facts = same.grid.facts
    read = at("epochs", same.epochs, f"test_{facts.metric}", facts)
    grid = arm_grid(exhibit, LATE)
    rows = [grid.table(size, read)[0] for size in grid.batch_sizes()]  # there is one
    late = {seed: value for row in rows for seed, value in zip(grid.seeds, row, strict=True)}
    small = dict(zip(same.grid.seeds, same.table(read)[:, 0], strict=True))
    return (
        equivalence(
            "so does a turn to the small batch halfway", differences(late, small), margin=margin, counts=False,
            unit=f"test {facts.metric}", definition="large batch, then small, less small throughout; one rate",
        ),
    )  # fmt: skip


def _kept_up_to(sizes: Sequence[int], values: np.ndarray, margin: float) -> int:
    """Return the largest batch size up to which each is equivalent to the smallest; values (seed, batch size)."""
    kept = sizes[0]
    for size, column in zip(sizes[1:], values.T[1:], strict=True):
        part = equivalence("", column - values[:, 0], margin=margin, unit="", definition="")
        if part.outcome is not Outcome.EQUIVALENT:
            break
        kept = size
    return kept
