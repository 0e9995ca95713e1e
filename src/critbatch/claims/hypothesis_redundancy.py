"""H2: does a large batch make hidden units learn the same thing, so that the network's capacity falls?"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Grid, Track
from ..budgets.epochs import Epochs
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Part, Scale, Verdict, World
from ..estimate import Estimate, short
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.parts import LEVEL, band, nothing, slope_estimate, verdict
from ..judging.protocol import common_budget, common_rates, runs, seeds, sizes
from ..judging.reading import Reader, arm_grid, table, tuned, worse
from ..measurements.ablation import Ablation
from ..measurements.effective_rank import EffectiveRank
from ..measurements.halves_alignment import HalvesAlignment
from ..measurements.redundant_units import RedundantUnits
from ..optimizers.sgd import SGD
from ..plan import Plan, Run
from ..statistics.censoring import crossing, smooth
from ..statistics.means import mean_estimate
from ..task import Target

LOSS = 0.05  # of training, at which batch sizes are compared
SHARE = 0.3  # of the batch size's coefficient that the rank has to explain
LINEAR = {"full": 1 / 3000, "smoke": 1 / 2000}  # learning rate for each example of a batch
TOP = 1.0  # learning rate that the whole training set bears
WIDEST = 4.0  # factor between neighbouring learning rates
MOST = {"full": Epochs(400), "smoke": Steps(120)}
UPDATES = {"full": 128, "smoke": 40}
DECAY = 1e-3
NOWHERE = np.empty(0)
CONFIRMED = 4  # looks that show that a loss was reached, see `crossing`
RANK, ALIKE = "activation_effective_rank", "activation_correlation"
WATCHED = {
    "full": (EffectiveRank(), RedundantUnits(), Ablation(per_decade=1), HalvesAlignment(per_decade=1)),
    "smoke": (
        EffectiveRank(per_decade=1), RedundantUnits(per_decade=1), Ablation(shares=2, draws=1, per_decade=1),
        HalvesAlignment(per_decade=1),
    ),
}  # fmt: skip
# What else would rise with redundancy, reported only: quantity, name, unit
BESIDES = (
    ("duplicate_share", "pairs of units with |correlation| above 0.9 become more", "share of pairs"),
    ("weight_cosine", "incoming weights of units become more parallel", "|cosine|"),
    ("halves_alignment", "halves of the units say more of each other", "alignment"),
    ("ablation_area", "the network can do without more of its units", "metric"),
)


@final
class Redundancy(Claim):
    """Redundancy at equal training loss, and whether it accounts for what a large batch loses in generalization.

    On the bed runs end when the training loss stays below 0.05, and all numbers are read at that loss, between the
    measurements before and after it. On a task of one's own, where that loss may be out of reach, runs spend the common
    budget and are read at the lowest loss that every batch size reached. The largest set of random labels that could
    be learnt from the solution is not measured: it would take a training for each run and size of the set.

    A share of pairs above 0.9 is likely to be 0 in small networks whatever the batch; the mean |correlation| of pairs
    decides instead, and the share is reported.
    """

    id = "H2"
    statement = (
        "A large batch makes hidden units learn the same thing, and this redundancy is why it generalizes worse."
    )
    source = (
        "a hypothesis under the founding question; against: Galanti et al. (2022), arXiv:2206.05794; Chen et al. (2023), "
        "arXiv:2306.04251"
    )
    about = "generalization"
    kinds = (Kind.TREND, Kind.MODEL)
    budget = "equal training loss (0.05); reported besides: equal updates (128)"
    policy = (
        "tuned at each batch size: three rates from that of the linear rule up to at most 1, chosen on validation by the "
        "other seeds; reported besides: the linear rule itself, without and with weight decay 0.001"
    )
    published = (
        "no number for it; small batches, high rates and strong weight decay promote low rank (second-hand), with a "
        "marginal effect on test performance (paper, abstract)"
    )

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        main = facts["main"]
        chosen = [size for size in sizes(main, scale) if size > 1]
        ask = functools.partial(runs, main, seeds=seeds(scale), measurements=WATCHED[scale])
        if not main.is_bed:
            rates = {size: common_rates(main, size, scale) for size in chosen}
            return {"plain": ask(batch_sizes=chosen, rates=rates, budget=common_budget(scale))}
        rates = {size: bed_rates(size, scale)[:: 1 if scale == "full" else 2] for size in chosen}
        ask = functools.partial(ask, budget=MOST[scale], target=Target("train_loss", LOSS, "below"))
        found = {"plain": ask(batch_sizes=chosen, rates=rates)}
        if scale == "full":
            some = sorted({*chosen[::2], chosen[-1]})
            linear = {size: rates[size][:1] for size in some}
            found["decayed"] = ask(batch_sizes=some, rates=linear, optimizer=SGD(weight_decay=DECAY))
        return found

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "plain")
        tried = grid.batch_sizes()
        level = max(LOSS * grid.facts.is_bed, common_loss(grid))
        when = f"at training loss {short(level)}"
        read = at_step_of(arrival(level))
        ranks, alike, gaps = (tuned_at(grid, read, one) for one in (read(RANK), read(ALIKE), _gap(read)))
        parts = [
            _trend("effective rank of hidden activations falls with the batch size", tried, ranks, f"tuned, {when}",
                   unit="directions", rises=False),
            _trend("hidden units become more alike", tried, alike, f"tuned, {when}", unit="|correlation|"),
            explains_the_gap(np.log2(tried), gaps, ranks),
        ]  # fmt: skip
        outcome = _whole(parts)
        parts += [
            _trend(name, tried, tuned_at(grid, read, read(quantity)), f"tuned, {when}", unit=unit, counts=False)
            for quantity, name, unit in BESIDES
        ]
        others = self._other_ranks(exhibit, grid, read, when)
        parts += [
            _trend(f"effective rank falls: {said}", one, values, said, unit="directions", rises=False, counts=False)
            for said, one, values in others
        ]
        lines = [line("tuned", tried, ranks), *(line(said, one, values) for said, one, values in others[:-1])]
        figure = Figure("batch size", f"effective rank of hidden activations {when}", tuple(lines))
        notes = (f"Runs are compared {when}. How many random labels could still be learnt is not measured.",)
        return verdict(self.id, exhibit, parts, outcome=outcome, figure=figure, notes=notes)

    def _other_ranks(
        self, exhibit: Exhibit, grid: Grid, read: Callable[[str], Reader], when: str
    ) -> list[tuple[str, list[int], np.ndarray]]:  # fmt: skip
        """Return words, batch sizes and ranks (seed, size) under the linear rule, with decay, and at equal updates."""
        updates = UPDATES[exhibit.scale]
        read_then = at_step_of(lambda track: float(updates))
        found = [(f"linear rule, {when}", grid)]
        if exhibit.arms.get("decayed"):
            found.append((f"linear rule and weight decay, {when}", arm_grid(exhibit, "decayed")))
        rules = [
            (said, one.batch_sizes(),
             table(one, one.batch_sizes(), lambda size, one=one: _at_linear(one, size, exhibit.scale, read(RANK))))
            for said, one in found
        ]  # fmt: skip
        then = tuned_at(grid, read_then, read_then(RANK))
        return [*rules, (f"tuned, at {updates} updates", grid.batch_sizes(), then)]

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        slope, blur = {"true": (-1.5, 0.3), "false": (1.5, 0.3), "silent": (-0.3, 15.0)}[world]
        harm = -0.01 if world == "false" else 0.01  # loss for each direction that is missing
        by_seed = generator.normal(size=64)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float] | None:
            if run.batch_size > 1000 and run.learning_rate > 0.99 and generator.random() < 0.2:
                return None
            linear = LINEAR["full"] * run.batch_size
            epochs = looks * run.batch_size / 2000 / 100 * (run.learning_rate / linear) ** 0.9
            log_loss = np.log(2.3 / (1 + 45 * epochs**1.2)) + 0.05 * generator.normal(size=looks.shape)
            missing = -slope * np.log2(run.batch_size) + by_seed[run.seed] + generator.normal()
            lost = 0.4 + harm * missing + 0.007 * generator.normal()
            return {
                "train_loss": np.exp(log_loss), "test_loss": np.exp(log_loss) + lost,
                "validation_accuracy": 0.93 - 0.05 * lost + 0.002 * generator.normal(),
                RANK: 45 - missing + 0.5 * log_loss + blur * generator.normal(),
                ALIKE: 0.2 + 0.006 * (missing + blur * generator.normal()), "duplicate_share": 0.0,
            }  # fmt: skip

        return values


def bed_rates(batch_size: int, scale: Scale) -> list[float]:
    """Return three learning rates: the linear rule's and two above it, by a factor of at most 4 and up to 1.

    Below the linear rule's, which suits the whole training set, steps are so small that the noise is what decides.
    """
    linear = LINEAR[scale] * batch_size
    factor = min(WIDEST, (TOP / linear) ** 0.5)
    return [linear, linear * factor, linear * factor**2]


def common_loss(grid: Grid) -> float:
    """Return the lowest training loss that every batch size was seen to stay below, with every seed of some rate.

    Batch sizes at which no rate trained to its end with every seed do not count; 0 if there is no other.
    """

    def lowest(track: Track) -> float:
        losses = _seen(track, "train_loss")[1]
        return float(smooth(losses)[-CONFIRMED:-1].max()) if track.completed and len(losses) >= CONFIRMED else np.inf

    reached = [
        np.nan_to_num(grid.table(size, lowest), nan=np.inf, posinf=np.inf).max(1).min() for size in grid.batch_sizes()
    ]
    return max((float(one) for one in reached if np.isfinite(one)), default=0.0)


def arrival(level: float) -> Reader:
    """Return a reader of the step from which the training loss stays below `level`; NaN where it was not seen to."""

    @functools.cache
    def read(track: Track) -> float:
        steps, losses = _seen(track, "train_loss")
        found = crossing(steps, losses, level * (1 + 1e-9), "below") if track.completed and len(steps) else None
        return np.nan if found is None else found

    return read


def at_step_of(step: Reader) -> Callable[[str], Reader]:
    """Return what makes, of a quantity's name, a reader of it at a step that each run has for itself.

    Quantities measured at few looks are interpolated in log steps between the looks that have them; NaN beyond the last.
    """

    @functools.cache
    def of(quantity: str) -> Reader:
        @functools.cache
        def read(track: Track) -> float:
            position = step(track)
            steps, values = _seen(track, quantity)
            if not track.completed or not len(steps) or not steps[0] <= position <= steps[-1]:
                return np.nan
            return float(np.interp(np.log1p(position), np.log1p(steps), values))

        return read

    return of


def tuned_at(grid: Grid, at: Callable[[str], Reader], read: Reader) -> np.ndarray:
    """Return `read` at the learning rate that is best for the other seeds on the selection split, (seed, size)."""
    score = worse(grid, at(f"{grid.facts.selection_split}_{grid.facts.metric}"))
    return table(grid, grid.batch_sizes(), lambda size: tuned(grid, size, score=score, read=read))


def explains_the_gap(x: np.ndarray, gaps: np.ndarray, ranks: np.ndarray) -> Part:
    """Return the test of "with the rank in the regression, the batch size's coefficient shrinks by 30 % or more".

    The gap (test loss less training loss) is regressed on log2 batch size, without and with the effective rank, seeds
    having their own levels. Tested is 0.7 x the first coefficient less the second: a difference, since the ratio has no
    useful interval. Jackknife over seeds (Tukey's pseudo-values). Nothing is tested unless the gap grows with B.

    Args:
        x: log2 batch size, shape (size,).
        gaps: In units of loss, shape (seed, size); NaN where missing.
        ranks: Effective ranks, shape (seed, size).
    """
    name = f"the rank explains {SHARE:.0%} or more of what the batch size does to the generalization gap"
    said = {
        "unit": "loss per doubling",
        "definition": f"{1 - SHARE:g} x slope of the gap on log2 batch size, less its slope beside the rank",
    }
    whole = slope_estimate(x, gaps, unit="loss per doubling", definition="slope of the gap on log2 batch size")
    threshold = "95% interval within [0, ∞]"
    if whole.value is None or whole.low is None or not whole.low > 0:
        seen = whole.reason if whole.value is None else f"slope {whole.brief()}"
        reason = (
            f"the generalization gap was not seen to grow with the batch size ({seen}): there is nothing to explain"
        )
        return nothing(name, Kind.MODEL, reason, said["unit"], said["definition"], threshold)
    rows = np.flatnonzero((np.isfinite(gaps) & np.isfinite(ranks)).sum(1) >= 3)
    if len(rows) < 3:
        reason = "fewer than three seeds have the gap and the rank at three batch sizes"
        return nothing(name, Kind.MODEL, reason, said["unit"], said["definition"], threshold)
    found = _shrinkage(x, gaps[rows], ranks[rows])
    without = np.array([_shrinkage(x, gaps[kept], ranks[kept]) for kept in (rows[rows != one] for one in rows)])
    return band(name, _pseudo(found, without, **said), 0.0, np.inf, kind=Kind.MODEL)


def _pseudo(found: float, without: np.ndarray, *, unit: str, definition: str) -> Estimate:
    count = len(without)
    return mean_estimate(count * found - (count - 1) * without, unit=unit, definition=definition, level=LEVEL)


def _shrinkage(x: np.ndarray, gaps: np.ndarray, ranks: np.ndarray) -> float:
    """Return 0.7 x the coefficient of x alone less the one beside the ranks; both within seeds."""
    columns = [[], [], []]
    for gap, rank in zip(gaps, ranks, strict=True):
        kept = np.isfinite(gap) & np.isfinite(rank)
        for column, values in zip(columns, (x, rank, gap), strict=True):
            column.extend(values[kept] - values[kept].mean())
    size, rank, gap = map(np.array, columns)
    alone = float(size @ gap / (size @ size))
    beside = np.linalg.lstsq(np.stack([size, rank], axis=1), gap, rcond=None)[0][0]
    return (1 - SHARE) * alone - float(beside)


def _whole(parts: Sequence[Part]) -> Outcome:
    """Return SUPPORTED if all three hold, REFUTED if the rank rises with the batch size."""
    if parts[0].outcome is Outcome.REFUTED:
        return Outcome.REFUTED
    holds = all(part.outcome is Outcome.SUPPORTED for part in parts)
    return Outcome.SUPPORTED if holds else Outcome.INCONCLUSIVE


def _trend(
    name: str, batch_sizes: Sequence[int], values: np.ndarray, when: str, *, unit: str, rises: bool = True,
    counts: bool = True,
) -> Part:  # fmt: skip
    found = slope_estimate(
        np.log2(batch_sizes), values, unit=f"{unit} per doubling", definition=f"slope on log2 batch size, {when}"
    )
    low, high = (0.0, np.inf) if rises else (-np.inf, 0.0)
    return band(name, found, low, high, counts=counts)


def _gap(read: Callable[[str], Reader]) -> Reader:
    return lambda track: read("test_loss")(track) - read("train_loss")(track)


def _at_linear(grid: Grid, size: int, scale: Scale, read: Reader) -> np.ndarray:
    """Return `read` of every seed at the linear rule's learning rate; NaN where it was not tried."""
    there = np.flatnonzero(np.isclose(grid.rates(size), LINEAR[scale] * size))
    return grid.table(size, read)[there[0]] if len(there) else np.full(len(grid.seeds), np.nan)


def _seen(track: Track, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps at which a quantity was written down, and its values there."""
    values = track.values.get(quantity)
    if values is None:
        return NOWHERE, NOWHERE
    kept = np.isfinite(values)
    return track.step[kept], values[kept]
