"""Shwartz-Ziv and Tishby (2017): drift and diffusion of gradients, and layers that compress what they know of the input."""

from collections.abc import Mapping
from typing import final

import numpy as np
from scipy.stats import binomtest, spearmanr
from typing_extensions import override

from ..bed import Bed
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Part, Scale, Verdict, World
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.layers import (
    BATCH,
    BUDGET,
    COMPRESSED,
    HIDDEN,
    ORDERS,
    POLICY,
    ROLES,
    TANH,
    WHY,
    Course,
    gradient_ratios,
    information,
    layer_lines,
    made_up_falls,
    made_up_layers,
    orders_arms,
    orders_beds,
    twelve_bit_runs,
)  # fmt: skip
from ..judging.parts import LEVEL, band, nothing, slope_estimate, verdict
from ..measurements.gradient_ratio import GradientRatio
from ..plan import Plan, Run
from ..statistics.change_point import MeanChange, mean_change
from ..statistics.means import mean_estimate
from ..statistics.rank_correlation import rank_correlation

SOURCE = "Shwartz-Ziv and Tishby (2017), arXiv:1703.00810"
DECADES = 1.0  # by which the ratio falls
SEEDS_SHARE = 0.9
LAYERS = 3  # hidden ones that compress
LINKED = 0.5  # rank correlation
FEWEST_LOOKS = 8
SIZES = {"full": (32, 256), "smoke": ()}


def changes(course: Course) -> list[MeanChange]:
    """Return where the log10 ratio of each layer changes its mean; nothing where there are too few looks."""
    if course.values.shape[1] < FEWEST_LOOKS:
        return []
    return [mean_change(row, generator=None) for row in course.values]


@final
class DriftTurnsToDiffusion(Claim):
    """SZ-1: in how many seeds the ratio |mean|/|deviation| of batch gradients falls tenfold in every weight matrix.

    Before and after its change point. Ten seeds of ten leave 0.69 as the lower end of the exact interval, so that
    SUPPORTED asks for nine of ten found and for more than half shown.
    """

    id = "SZ-1"
    statement = (
        "Gradients go from drift to diffusion: the ratio of their mean and scatter falls abruptly in all layers."
    )
    source = SOURCE
    about = "optimization"
    kinds = (Kind.DIRECTION,)
    budget = BUDGET
    policy = POLICY
    published = "figures only; in a deep linear network of one unit a layer it falls 16,502 times (second-hand)"
    why_not_yours = WHY

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return orders_beds(scale)

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return orders_arms(scale, facts)

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        parts, notes = [], []
        for order in ORDERS:
            found = {seed: changes(one) for seed, one in gradient_ratios(exhibit, order).items()}
            drops = np.array([[one.drop for one in row] for row in found.values() if row])
            parts.append(self._share(order, drops))
            if len(drops):
                told = ", ".join(f"{10**drop:.3g}" for drop in drops.mean(0))
                notes.append(
                    f"{order}: the ratio falls by factors of {told} (geometric means), from the first layer on"
                )
        lines = layer_lines(gradient_ratios(exhibit, ORDERS[0]), "weights")
        figure = Figure("updates", "log10 of |mean| over |deviation| of batch gradients", tuple(lines))
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    def _share(self, order: str, drops: np.ndarray) -> Part:
        name = f"{order}: the ratio falls tenfold in all layers"
        words = {"unit": "share of seeds", "definition": "seeds in which the ratio's mean falls tenfold in every layer"}
        threshold = f"at least {SEEDS_SHARE:g} of the seeds, and the exact 95% interval above 0.5"
        counts = order == ORDERS[0]
        if len(drops) < 2:
            return nothing(
                name, Kind.DIRECTION, "fewer than two seeds have it", threshold=threshold, counts=counts, **words
            )
        hits = int((drops > DECADES).all(1).sum())
        share = hits / len(drops)
        ends = binomtest(hits, len(drops)).proportion_ci(LEVEL, "exact")
        effect = Estimate(
            share, float(ends.low), float(ends.high), LEVEL, len(drops), method="Clopper-Pearson", **words
        )
        outcome = Outcome.INCONCLUSIVE
        if share >= SEEDS_SHARE and ends.low > 0.5:
            outcome = Outcome.SUPPORTED
        elif ends.high < SEEDS_SHARE:
            outcome = Outcome.REFUTED
        return Part(name, Kind.DIRECTION, outcome, effect, threshold, counts=counts)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        drop, scatter = {"true": (2.0, 0.15), "false": (0.4, 0.15), "silent": (2.0, 0.15)}[world]

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float] | None:
            if world == "silent" and run.seed > 3:
                return None
            measurement = GradientRatio(layers=len(HIDDEN["full"]) + 1)
            after = looks > 1000
            found: dict[str, np.ndarray | float] = {"train_loss": 0.1}
            for layer in range(1, measurement.layers + 1):
                fall = (drop + scatter * generator.normal()) * after
                mean, deviation = measurement.names(layer)
                found |= {mean: 0.3 * 10 ** (-fall), deviation: 0.3 * 10 ** (0.02 * generator.normal(size=len(looks)))}
            return found

        return values


@final
class LayersCompress(Claim):
    """SZ-2: per seed the layer that compresses third most, smoothed over three looks."""

    id = "SZ-2"
    statement = "After fitting, hidden layers of tanh units forget much of the input again: I(X;T) falls."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.DIRECTION,)
    budget = BUDGET
    policy = POLICY
    published = "figures only; a reproduction finds 10.66 bits, all layers together (second-hand)"
    why_not_yours = WHY

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return orders_beds(scale)

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return orders_arms(scale, facts)

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        parts, notes = [], []
        for order in ORDERS:
            found = information(exhibit, order, TANH)
            table = np.array([one.compression for one in found.values()])
            third = np.sort(table, 1)[:, -LAYERS] if len(table) else np.array([])
            effect = mean_estimate(
                third, unit="bits", definition="largest I(X;T) less the last, in the layer where that is third largest"
            )
            name = f"{order}: at least {LAYERS} hidden layers forget more than {COMPRESSED:g} bit"
            parts.append(band(name, effect, COMPRESSED, np.inf, kind=Kind.DIRECTION, counts=order == ORDERS[0]))
            if len(table):
                told = ", ".join(f"{value:.2f}" for value in table.mean(0))
                notes.append(f"{order}: bits that layers forget, from the first on: {told}")
        lines = layer_lines(information(exhibit, ORDERS[0], TANH), "layer")
        return verdict(self.id, exhibit, parts, figure=Figure("updates", "I(X;T), bits", tuple(lines)), notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        fall, scatter = {"true": (2.0, 0.2), "false": (0.1, 0.05), "silent": (0.3, 1.0)}[world]

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            falls = made_up_falls(fall, scatter, generator)
            return {"train_loss": 0.1} | made_up_layers(looks, falls, TANH)

        return values


@final
class TransitionsCoincide(Claim):
    """SZ-3: change point of the gradient ratio into a layer, and the update at which the layer begins to forget.

    Over all seeds and layers that forget more than half a bit; whole seeds are drawn anew for the interval. Layers differ
    from each other in both, whatever the one has to do with the other: the mean over layers of the correlation over
    seeds within a layer is reported.
    """

    id = "SZ-3"
    statement = "Layers begin to forget the input when their gradients turn from drift to diffusion."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.TREND,)
    budget = BUDGET
    policy = POLICY
    published = "figures only (paper)"
    why_not_yours = WHY

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return orders_beds(scale)

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return orders_arms(scale, facts)

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        parts, notes = [], []
        for order in ORDERS:
            pairs = self._pairs(exhibit, order)
            clusters = [(row[0][kept], row[1][kept]) for row in pairs if (kept := np.isfinite(row).all(0)).any()]
            effect = rank_correlation(
                clusters, generator=np.random.default_rng(0),
                definition="rank correlation, over seeds and layers, of the updates at the change and at the onset",
            )  # fmt: skip
            name = f"{order}: gradients change where layers begin to forget"
            parts.append(band(name, effect, LINKED, np.inf, counts=order == ORDERS[0]))
            within = [
                spearmanr(*column[:, kept]).statistic
                for column in np.moveaxis(pairs, 0, -1).swapaxes(0, 1)
                if (kept := np.isfinite(column).all(0)).sum() > 3 and (np.ptp(column[:, kept], axis=1) > 0).all()
            ]
            if within:
                notes.append(
                    f"{order}: within a layer, over seeds, {np.mean(within):.2f} (mean of {len(within)} layers)"
                )
        return verdict(self.id, exhibit, parts, notes=notes)

    def _pairs(self, exhibit: Exhibit, order: str) -> np.ndarray:
        """Return logs of the updates at the change and the onset, shape (seed, 2, layer); NaN in a layer that does not forget."""
        layers = len(HIDDEN[exhibit.scale])
        known, ratios = information(exhibit, order, TANH), gradient_ratios(exhibit, order)
        found = np.full((0, 2, layers), np.nan)
        for seed in sorted(known.keys() & ratios.keys()):
            places = [one.place for one in changes(ratios[seed])[:layers]]
            if len(places) == layers:
                row = np.log([ratios[seed].steps[places], known[seed].onset])
                row[:, known[seed].compression <= COMPRESSED] = np.nan
                found = np.concatenate([found, row[None]])
        return found

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        linked, noise = {"true": (1.0, 0.3), "false": (-0.4, 0.9), "silent": (0.5, 0.85)}[world]

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            measurement = GradientRatio(layers=len(HIDDEN["full"]) + 1)
            found: dict[str, np.ndarray | float] = {"train_loss": 0.1}
            first, second = generator.normal(size=(2, measurement.layers))
            changed, onset = 10 ** (3 + 0.5 * first), 10 ** (3 + 0.5 * (linked * first + noise * second))
            for layer in range(1, measurement.layers + 1):
                mean, deviation = measurement.names(layer)
                found |= {mean: 10 ** (-2.0 * (looks > changed[layer - 1])), deviation: 1.0}
            return found | made_up_layers(looks, [2.0] * (measurement.layers - 1), TANH, onset=onset[:-1])

        return values


@final
class SmallBatchesCompressMore(Claim):
    """SZ-4: our reading of the source, in which noise makes layers forget: less noise, less forgotten.

    At equal updates of Adam at one rate. Saxe et al. expect no dependence.
    """

    id = "SZ-4"
    statement = (
        "Smaller batches make layers forget more of the input, and earlier; the whole set as one batch, nothing."
    )
    source = SOURCE + " (our reading)"
    about = "generalization"
    kinds = (Kind.TREND,)
    budget = BUDGET
    policy = POLICY
    why_not_yours = WHY

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return orders_beds(scale)

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {
            order: twelve_bit_runs(
                facts[role], scale, order, sizes=(*SIZES[scale], BATCH[scale], facts[role].train_size or BATCH[scale])
            )
            for order, role in ROLES.items()
        }  # fmt: skip

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        parts, lines = [], []
        for order in ORDERS:
            sizes = sorted({run.batch_size for run in exhibit.arms[order]})
            courses = [information(exhibit, order, TANH, size) for size in sizes]
            seeds = sorted(set().union(*courses))
            lost = [[one[seed].compression.mean() if seed in one else np.nan for one in courses] for seed in seeds]
            begun = [[np.log2(one[seed].onset).mean() if seed in one else np.nan for one in courses] for seed in seeds]
            table, onsets = (np.reshape(np.array(rows), (-1, len(sizes))) for rows in (lost, begun))
            logs, counts = np.log2(np.array(sizes, dtype=float)), order == ORDERS[0]
            whole = table[:, -1][np.isfinite(table[:, -1])]
            parts += [
                band(f"{order}: layers forget less as batches grow", slope_estimate(
                    logs, table, unit="bits a layer per doubling",
                    definition="slope on log2 batch size of the bits that a layer forgets, mean over layers",
                ), -np.inf, 0.0, counts=counts),
                band(f"{order}: the whole set as one batch forgets nothing", mean_estimate(
                    whole, unit="bits a layer", definition="bits that a layer forgets, mean over layers"
                ), -np.inf, COMPRESSED, counts=counts),
                band(f"{order}: layers begin to forget later as batches grow", slope_estimate(
                    logs, onsets, unit="doublings of updates per doubling",
                    definition="slope on log2 batch size of log2 of the update at which I(X;T) is largest, mean over layers",
                ), 0.0, np.inf, counts=False),
            ]  # fmt: skip
            lines.append(line(order, sizes, table))
        figure = Figure("batch size", "bits that a layer forgets", tuple(lines))
        return verdict(self.id, exhibit, parts, figure=figure)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = 1.0 if world == "silent" else 0.2

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            left = np.log2(3277 / run.batch_size) / np.log2(3277 / 32)
            fall = {"true": 2.0 * left, "false": 2.0, "silent": 0.2}[world]
            falls = made_up_falls(fall, noise, generator)
            onset = 300.0 * (run.batch_size / 32 if world == "true" else 1.0)
            return {"train_loss": 0.1} | made_up_layers(looks, falls, TANH, onset=onset)

        return values
