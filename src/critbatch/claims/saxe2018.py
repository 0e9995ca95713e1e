"""Saxe et al. (2018): compression of layers is a matter of activation and bins, not of noise, and not of generalization."""

from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from scipy.stats import rankdata
from typing_extensions import override

from ..bed import Bed
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Line, Outcome, Part, Scale, Verdict, World
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.layers import (
    BATCH,
    BINS,
    BUDGET,
    COMPRESSED,
    ORDERS,
    POLICY,
    REBINNED,
    RELU,
    ROLES,
    SHARES,
    TANH,
    WHY,
    arm_of,
    information,
    layer_lines,
    made_up_falls,
    made_up_layers,
    mean_compression,
    orders_arms,
    orders_beds,
    twelve_bit_bed,
    twelve_bit_runs,
)  # fmt: skip
from ..judging.pairs import differences
from ..judging.parts import LEVEL, band, direction, verdict
from ..judging.reading import arm_tracks, at_end
from ..plan import Plan, Run
from ..statistics.means import mean_estimate
from ..statistics.rank_correlation import rank_correlation

SOURCE = "Saxe, Bansal, Dapello, Advani, Kolchinsky, Tracey and Cox (2018), On the information bottleneck theory, ICLR"
BITS = "bits a layer"
KEPT = 0.2  # of the compression, at most, if bins are to have made it
GAP = 0.05  # training less test accuracy from which a network overfits
FEWEST = 2  # runs in each of the four cells
LEARNED = 0.75  # training accuracy; the commoner class is .52
WIDEST = 0.5  # half of an interval that says something of a correlation
_Row = tuple[int, float, float, float]  # seed, compression, test accuracy and its distance from the training accuracy


@final
class TanhCompressesReluDoesNot(Claim):
    """SAX-1: tanh in 30 bins on [-1, 1], ReLU in 100 bins from the smallest to the largest activation, as published.

    Bits of the two therefore have not quite one meaning, which is the source's own point (SAX-2). Networks of ReLU units
    that died forget nothing: the seeds in which they learned are reported, since such were seen.
    """

    id = "SAX-1"
    statement = "Layers of tanh units compress what they know of the input, layers of ReLU units do not."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.DIRECTION,)
    budget = BUDGET
    policy = POLICY
    published = "a reproduction: 10.66 bits with tanh, .47 with ReLU, all layers together (second-hand)"
    why_not_yours = WHY

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        found = dict(orders_beds(scale))
        return found | {
            f"{role} relu": twelve_bit_bed(scale, order, activation="relu") for order, role in ROLES.items()
        }

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        more = {
            f"relu {order}": twelve_bit_runs(facts[f"{role} relu"], scale, order, activation="relu")
            for order, role in ROLES.items()
        }
        return {**orders_arms(scale, facts), **more}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        parts = []
        for order in ORDERS:
            tanh = mean_compression(information(exhibit, order, TANH))
            relu = mean_compression(information(exhibit, f"relu {order}", RELU))
            words = {"unit": BITS, "definition": "bits that a layer forgets, tanh less ReLU, mean over layers"}
            compared = direction(
                f"{order}: tanh forgets more than ReLU", differences(tanh, relu), counts=order == ORDERS[0], **words
            )
            own = mean_estimate(
                np.array(list(relu.values())), unit=BITS, definition="bits that a layer of ReLU forgets"
            )
            nothing_lost = band(f"{order}: ReLU forgets nothing", own, -np.inf, COMPRESSED, counts=False)
            learned = _learned(exhibit, f"relu {order}")
            alive = direction(
                f"{order}: tanh forgets more than ReLU, where ReLU learned",
                differences(tanh, {seed: relu[seed] for seed in relu.keys() & learned}), counts=False, **words,
            )  # fmt: skip
            parts += [compared, nothing_lost, alive]
        lines = layer_lines(information(exhibit, ORDERS[0], TANH), "tanh, layer")
        lines += layer_lines(information(exhibit, f"relu {ORDERS[0]}", RELU), "ReLU, layer")
        return verdict(self.id, exhibit, parts, figure=Figure("updates", "I(X;T), bits", tuple(lines)))

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        fall, other, scatter = {"true": (2.0, 0.1, 0.2), "false": (1.0, 2.0, 0.3), "silent": (1.0, 0.9, 1.0)}[world]

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            relu = arm.startswith("relu")
            falls = made_up_falls(other if relu else fall, scatter, generator)
            return {"train_loss": 0.1} | made_up_layers(looks, falls, RELU if relu else TANH)

        return values


@final
class BinsMakeCompression(Claim):
    """SAX-2: one and the same run, in 30 bins of equal width on [-1, 1], and in bins that are finer where tanh saturates."""

    id = "SAX-2"
    statement = "The compression of a tanh network is made by its bins: others, of the same run, remove it."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.DIRECTION,)
    budget = BUDGET
    policy = POLICY
    published = (
        "edges tanh(linspace(-50, 50)); in a reproduction the last layer falls from 5.59 bits to .32 (second-hand)"
    )
    why_not_yours = WHY

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return orders_beds(scale)

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return orders_arms(scale, facts)

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        parts, notes, lines = [], [], []
        for order in ORDERS:
            plain, again = (mean_compression(information(exhibit, order, bins)) for bins in (TANH, REBINNED))
            part = {seed: KEPT * value for seed, value in plain.items()}
            parts.append(
                direction(
                    f"{order}: other bins remove at least {1 - KEPT:.0%} of it", differences(part, again), unit=BITS,
                    counts=order == ORDERS[0],
                    definition=f"{KEPT:g} times the bits forgotten in equal bins, less those in finer ones, mean over layers",
                )
            )  # fmt: skip
            told = [np.mean(list(one.values())) for one in (plain, again) if one]
            if len(told) == 2:
                notes.append(f"{order}: {told[0]:.3g} bits a layer in bins of equal width, {told[1]:.3g} in the others")
        for name, bins in (("equal bins, layer", TANH), ("finer bins, layer", REBINNED)):
            lines += layer_lines(information(exhibit, ORDERS[0], bins), name)
        return verdict(self.id, exhibit, parts, figure=Figure("updates", "I(X;T), bits", tuple(lines)), notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        left, scatter = {"true": (0.04, 0.05), "false": (0.7, 0.2), "silent": (0.2, 0.7)}[world]

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            falls, rest = made_up_falls(2.0, 0.3, generator), made_up_falls(2.0 * left, scatter, generator)
            return {"train_loss": 0.1} | made_up_layers(looks, falls, TANH) | made_up_layers(looks, rest, REBINNED)

        return values


@final
class GradientDescentCompresses(Claim):
    """SAX-3: batches of 512 against the whole training set as one batch, at equal updates and one rate.

    EQUIVALENT by an interval within half a bit; so is more compression without noise what the claim says.
    """

    id = "SAX-3"
    statement = "Gradient descent without noise compresses as much as SGD."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.EQUIVALENCE,)
    budget = BUDGET
    policy = POLICY
    published = "a reproduction: 17.9 bits by gradient descent, 10.66 by SGD, all layers together (second-hand)"
    why_not_yours = WHY

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return orders_beds(scale)

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        found = dict(orders_arms(scale, facts))
        for order, role in ROLES.items():
            whole = (facts[role].train_size or BATCH[scale],)
            found[f"whole set, {order}"] = twelve_bit_runs(facts[role], scale, order, sizes=whole)
        return found

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        parts, lines = [], []
        for order in ORDERS:
            batches, whole = (
                mean_compression(information(exhibit, arm, TANH)) for arm in (order, f"whole set, {order}")
            )
            apart = mean_estimate(
                differences(whole, batches), unit=BITS,
                definition="bits that a layer forgets, the whole set as one batch less batches of 512, mean over layers",
            )  # fmt: skip
            name = f"{order}: without noise layers forget as much, or more"
            parts.append(band(name, apart, -COMPRESSED, np.inf, kind=Kind.EQUIVALENCE, counts=order == ORDERS[0]))
        for name, arm in (("SGD, layer", ORDERS[0]), ("whole set, layer", f"whole set, {ORDERS[0]}")):
            lines += layer_lines(information(exhibit, arm, TANH), name)
        return verdict(self.id, exhibit, parts, figure=Figure("updates", "I(X;T), bits", tuple(lines)))

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        fall, scatter = {"true": (3.2, 0.3), "false": (1.3, 0.3), "silent": (2.5, 1.0)}[world]

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            falls = made_up_falls(fall if arm.startswith("whole") else 3.0, scatter, generator)
            return {"train_loss": 0.1} | made_up_layers(looks, falls, TANH)

        return values


@final
class CompressionDoesNotGeneralize(Claim):
    """SAX-4: tanh and ReLU on 80% and on 30% of the patterns: does what compresses generalize?

    The rank correlation of compression and test accuracy over both activations and all seeds, ranks being taken among the
    runs that train on equally many. Above 0 it is a link, and refutes; an interval that is wider than 1 says nothing; that
    no link was seen counts only if runs were seen that compress and overfit, that compress and do not, and so on: all
    four cells. At either share alone, where the sign may flip, it is reported; so it is for the runs that learned
    anything, which was added when it was seen that some networks of ReLU units had died.
    """

    id = "SAX-4"
    statement = "Compression and generalization have nothing to do with each other."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.DIRECTION,)
    budget = BUDGET
    policy = POLICY
    published = "with 30% of the data tanh compresses and overfits, ReLU generalizes better without (second-hand)"
    why_not_yours = WHY

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {
            role if (activation, share) == ("tanh", 0.8) else arm_of(activation, share, order):
            twelve_bit_bed(scale, order, activation=activation, share=share)
            for activation in BINS for share in SHARES for order, role in ROLES.items()
        }  # fmt: skip

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {
            arm_of(activation, share, order): twelve_bit_runs(
                facts[role if (activation, share) == ("tanh", 0.8) else arm_of(activation, share, order)], scale, order,
                activation=activation,
            )
            for activation in BINS for share in SHARES for order, role in ROLES.items()
        }  # fmt: skip

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        parts, lines = [], []
        for order in ORDERS:
            counts = order == ORDERS[0]
            rows = {share: self._rows(exhibit, order, share) for share in SHARES}
            learned = {share: [row for row in found if row[2] + row[3] > LEARNED] for share, found in rows.items()}
            parts += [
                self._linked(order, rows, counts=counts),
                self._cells(order, [row for found in rows.values() for row in found], counts=counts),
                *(
                    self._linked(f"{order}, trained on {share:.0%}", {share: rows[share]}, counts=False)
                    for share in SHARES
                ),
                self._linked(f"{order}, of runs that learned", learned, counts=False),
            ]
            lines += [_scatter(f"trained on {share:.0%}", found) for share, found in rows.items() if counts and found]
        figure = Figure("bits that a layer forgets", "test accuracy", tuple(lines), log_x=False)
        return verdict(self.id, exhibit, parts, outcome=_outcome(*parts[:2]), figure=figure)

    def _rows(self, exhibit: Exhibit, order: str, share: float) -> list[_Row]:
        """Return seed, compression, test accuracy and its distance from the training accuracy of every run."""
        tracks, found = arm_tracks(exhibit), []
        for activation, bins in BINS.items():
            arm = arm_of(activation, share, order)
            compressions = mean_compression(information(exhibit, arm, bins[0]))
            for run in exhibit.arms[arm]:
                if run.seed in compressions and run.id in tracks:
                    train, test = (at_end(f"{split}_accuracy")(tracks[run.id]) for split in ("train", "test"))
                    if np.isfinite(train - test):
                        found.append((run.seed, compressions[run.seed], test, train - test))
        return found

    def _linked(self, where: str, rows: Mapping[float, Sequence[_Row]], *, counts: bool) -> Part:
        ranked = [
            np.column_stack([[row[0] for row in found], *(rankdata([row[one] for row in found]) / len(found) for one in (1, 2))])
            for found in rows.values() if found
        ]  # fmt: skip
        table = np.concatenate(ranked) if ranked else np.empty((0, 3))
        effect = rank_correlation(
            [(table[table[:, 0] == seed, 1], table[table[:, 0] == seed, 2]) for seed in np.unique(table[:, 0])],
            generator=np.random.default_rng(0),
            definition="rank correlation of bits forgotten and test accuracy among runs that train on equally many patterns",
        )  # fmt: skip
        name = f"{where}: what compresses generalizes no better"
        return band(name, effect, -np.inf, 0.0, kind=Kind.DIRECTION, counts=counts)

    def _cells(self, order: str, rows: Sequence[_Row], *, counts: bool) -> Part:
        cells = {(compresses, overfits): 0 for compresses in (True, False) for overfits in (True, False)}
        for _, lost, _, gap in rows:
            cells[lost > COMPRESSED, gap > GAP] += 1
        told = "compress and overfit {}, compress only {}, overfit only {}, neither {}".format(*cells.values())
        least = min(cells.values())
        effect = Estimate(float(least), None, None, LEVEL, len(rows), "runs", "count", f"fewest in a cell: {told}")
        outcome = Outcome.SUPPORTED if least >= FEWEST else Outcome.INCONCLUSIVE
        name = f"{order}: runs compress or not, and overfit or not, in every combination"
        return Part(
            name, Kind.EXACT, outcome, effect, f"at least {FEWEST} runs in each of the four cells", counts=counts
        )

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            tanh, most = arm.startswith("tanh"), "80%" in arm
            lost = 2.0 if tanh or world == "silent" else 0.1
            overfits = (not tanh) if world == "false" else not most
            test = 0.95 - 0.2 * overfits + 0.01 * generator.normal()
            falls = made_up_falls(lost, 0.2, generator)
            known = made_up_layers(looks, falls, TANH if tanh else RELU)
            return {"train_loss": 0.1, "train_accuracy": 0.97, "test_accuracy": test} | known

        return values


def _scatter(name: str, rows: Sequence[_Row]) -> Line:
    """Return test accuracy over compression, a point for each run, ascending."""
    return Line(name, tuple((lost, None, test, None) for _, lost, test, _ in sorted(rows, key=lambda row: row[1])))


def _learned(exhibit: Exhibit, arm: str) -> set[int]:
    """Return the seeds of an arm in which the network learned something."""
    tracks = arm_tracks(exhibit)
    return {
        run.seed for run in exhibit.arms.get(arm, ())
        if run.id in tracks and at_end("train_accuracy")(tracks[run.id]) > LEARNED
    }  # fmt: skip


def _outcome(linked: Part, cells: Part) -> Outcome:
    """Return REFUTED if compression and test accuracy go together; SUPPORTED if they do not, and every cell is seen."""
    effect = linked.effect
    if effect.low is None or effect.high is None or effect.high - effect.low > 2 * WIDEST:
        return Outcome.INCONCLUSIVE
    return linked.outcome if linked.outcome is Outcome.REFUTED else cells.outcome
