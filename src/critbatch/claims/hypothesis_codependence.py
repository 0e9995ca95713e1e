"""H1: the asker's first hypothesis. Does a large batch move too many parameters at once for them to settle together?"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Track
from ..bed import Bed, common_bed
from ..budgets.epochs import Epochs
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Part, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.pairs import BySeed, differences, tuned_by_seed
from ..judging.parts import accuracy_margin, band, direction, slopes_by_seed, verdict
from ..judging.protocol import common_rates, common_sweep, runs, seeds, sizes
from ..judging.reading import arm_grid, arm_tracks, at, worse
from ..measurements.gradient_shift import GradientShift
from ..optimizers.block_sequential import BlockSequential
from ..plan import Plan, Run
from ..sampling import LastBatch
from ..samplings.repeated import Repeated
from ..statistics.comparisons import paired_difference
from ..statistics.means import mean_estimate

CHECKPOINTS, SWEEP, BLOCKS = "checkpoints", "sweep", "block after block"
NORMS = {"BatchNorm": "batch norm", "Ghost BatchNorm": "ghost batch norm"}  # role by arm
EPOCHS = {"full": 30, "smoke": 4}
LARGEST_MEASURED = 4096
SMALL = 16  # the batch size of the grid that is nearest stands for small ones
STEPS = {"length": "equal length", "rate": "equal learning rate", "linear": "rate in proportion to the batch size"}
Values = Callable[[Track, int, str], np.ndarray]


@final
class CoDependence(Claim):
    """What steps do to gradients of later layers, at several batch sizes; and updates of one block of layers at a time.

    At common checkpoints of one training, steps from small and large batches are compared at equal length, so that
    nothing but the batch differs. The intervention takes away what the hypothesis blames: with updates block after
    block, each with its own gradient, no two blocks move at once. Each block's gradient counts as one evaluation.
    """

    id = "H1"
    statement = (
        "Large batches do worse because they move too many parameters at once for these to settle into a stable "
        "dependence on each other."
    )
    source = (
        "first hypothesis of the founding question; measures: Santurkar et al. (2018), arXiv:1805.11604; internal "
        "covariate shift: Ioffe and Szegedy (2015), arXiv:1502.03167"
    )
    about = "optimization"
    kinds = (Kind.DIRECTION, Kind.TREND)
    budget = "one step, of equal length; interventions at equal gradient evaluations (30 epochs' worth)"
    policy = "tuned at each batch size and for each intervention over the same rates, chosen by the other seeds"

    closes = 0.5  # share of the large-batch gap that block-sequential updates have to close
    flat_shift = 0.05  # per doubling of the batch, in log shift per progress: below, it does not rise
    flat_interaction = 0.01  # per doubling, in the share of interaction, which lies between -1 and 1

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        main = common_bed(scale)
        ghost = "ghost-25" if scale == "full" else "ghost-32"  # divides the whole set, which is the large batch
        return {
            "main": main,
            "batch norm": dataclasses.replace(main, norm="batch"),
            "ghost batch norm": dataclasses.replace(main, norm=ghost),
        }

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        main = facts["main"]
        every = sizes(main, scale)
        large = every[-1]
        shift = GradientShift(
            batch_sizes=tuple(size for size in every if size <= LARGEST_MEASURED)[-5:],
            batches=16 if scale == "full" else 2, examples=1024 if scale == "full" else 256,
        )  # fmt: skip
        middle = min(64, large)
        gentle = common_rates(main, middle, scale)
        fixed = {"seeds": seeds(scale), "budget": Epochs(EPOCHS[scale] * 1.2)}
        at_large = {"batch_sizes": [large], "rates": common_rates(main, large, scale), **fixed}
        blocks = BlockSequential()
        found = {
            CHECKPOINTS: runs(
                main, batch_sizes=[middle], rates=[gentle[len(gentle) // 3]], seeds=seeds(scale),
                budget=Steps(1000 if scale == "full" else 10), measurements=[shift],
            ),
            SWEEP: common_sweep(main, scale),
            BLOCKS: runs(
                main, optimizer=blocks, sampling=Repeated(blocks.blocks, last_batch=LastBatch.WEIGHT), **at_large
            ),
        }  # fmt: skip
        return found | {arm: runs(facts[role], **at_large) for arm, role in NORMS.items() if role in facts}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        facts = exhibit.facts["main"]
        unit = f"test {facts.metric}"
        small, large = self._plain(exhibit)
        gap = {seed: small[seed] - large[seed] for seed in sorted(small.keys() & large.keys())}
        blocks = self._at_large(exhibit, BLOCKS, "main")
        parts = (
            self._closing("updates block after block close at least half of the large-batch gap", blocks, large, gap, unit),
            direction(
                "a large-batch gap", np.array(list(gap.values())), unit=unit,
                definition=f"test metric at a small batch less that at the largest, at {EPOCHS[exhibit.scale]} epochs",
            ),
            _trend(exhibit, "larger batches reach more parameters", _coverage, "length", "share of weights", 0.0),
            self._shift(exhibit, "length"),
            self._interaction(exhibit, "length"),
            direction(
                "updates block after block gain on plain ones at the largest batch", differences(blocks, large),
                unit=unit, margin=accuracy_margin(facts.test_size), counts=False,
                definition="test metric with updates block after block less plain, at equal gradient evaluations",
            ),
            *(quantity(exhibit, step) for step in ("rate", "linear") for quantity in (self._shift, self._interaction)),
            *(
                self._closing(f"{arm} closes at least half of the large-batch gap",
                              self._at_large(exhibit, arm, role), large, gap, unit, counts=False)
                for arm, role in NORMS.items() if arm in exhibit.arms
            ),
        )  # fmt: skip
        return verdict(
            self.id, exhibit, parts, outcome=_outcome(parts), figure=_figure(exhibit), notes=_notes(parts)
        )  # fmt: skip

    def _closing(
        self, name: str, treated: BySeed, plain: BySeed, gap: BySeed, unit: str, *, counts: bool = True
    ) -> Part:  # fmt: skip
        wanted = {seed: plain[seed] + self.closes * value for seed, value in gap.items()}
        definition = "what the intervention gains at the largest batch less half of the gap to a small batch"
        return direction(name, differences(treated, wanted), unit=unit, definition=definition, counts=counts)

    def _shift(self, exhibit: Exhibit, step: str) -> Part:
        name = f"steps of larger batches shift later layers' gradients more per progress ({STEPS[step]})"
        return _trend(exhibit, name, _shift, step, "log shift per progress", self.flat_shift)

    def _interaction(self, exhibit: Exhibit, step: str) -> Part:
        name = f"layers moved together interact more per progress in larger batches ({STEPS[step]})"
        return _trend(exhibit, name, _interaction, step, "share of interaction", self.flat_interaction)

    def _plain(self, exhibit: Exhibit) -> tuple[BySeed, BySeed]:
        """Return the test metric of plain updates, higher is better, at a small batch size and the largest."""
        found = sorted({run.batch_size for run in exhibit.arms[SWEEP]})
        small = min(found, key=lambda size: abs(np.log2(size / SMALL)))
        return _tests(exhibit, SWEEP, "main", small), _tests(exhibit, SWEEP, "main", found[-1])

    def _at_large(self, exhibit: Exhibit, arm: str, role: str) -> BySeed:
        return _tests(exhibit, arm, role, max((run.batch_size for run in exhibit.arms[arm]), default=0))

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = 40.0 if world == "silent" else 1.0
        true = world == "true"
        by_seed = generator.normal(size=64)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            if arm == CHECKPOINTS:
                return _imagined_shifts(run, looks, true=true, noise=noise, generator=generator)
            updates = looks / 2 if arm == BLOCKS and not true else looks
            gap = 0.8 / (1 + updates / 3)  # what is still to be learned after so many updates
            if true and arm != SWEEP:
                gap = 0.2 * gap
            missed = 0.01 * np.log2(run.learning_rate / (0.25 if run.batch_size < 32 else 1.0)) ** 2
            test = 0.93 - gap - missed + noise * (0.003 * by_seed[run.seed] + 0.002 * generator.normal())
            return {"train_loss": 2 * gap, "validation_accuracy": test, "test_accuracy": test}

        return values


def _tests(exhibit: Exhibit, arm: str, role: str, size: int) -> BySeed:
    """Return the tuned test metric at a batch size by seed, higher is better, after the epochs that all arms share."""
    grid = arm_grid(exhibit, arm, role=role)
    facts = grid.facts
    select, test = (at("epochs", EPOCHS[exhibit.scale], f"{split}_{facts.metric}", facts)
                    for split in (facts.selection_split, "test"))  # fmt: skip
    sign = 1.0 if facts.better == "above" else -1.0
    return tuned_by_seed(grid, size, score=worse(grid, select), read=lambda track: sign * test(track))


def _quantity(track: Track, name: str) -> np.ndarray:
    return track.values.get(name, np.full(len(track.step), np.nan))


def _coverage(track: Track, size: int, step: str) -> np.ndarray:
    return _quantity(track, f"update_coverage[B={size}]")


def _shift(track: Track, size: int, step: str) -> np.ndarray:
    """Return the log of relative gradient shift per loss removed; NaN where a step removes none."""
    shift, progress = (
        _quantity(track, f"{name}[B={size},step={step}]") for name in ("gradient_shift", "step_progress")
    )
    ratio = np.full(len(shift), np.nan)
    np.divide(shift, progress, out=ratio, where=(progress > 0) & (shift > 0))
    return np.log(ratio)


def _interaction(track: Track, size: int, step: str) -> np.ndarray:
    """Return Q/(1 + |Q|) of the non-additivity Q: as Q it rises and falls, but no vanishing progress makes it explode."""
    both, progress = (_quantity(track, f"{name}[B={size},step={step}]") for name in ("interaction", "step_progress"))
    share = np.full(len(both), np.nan)
    whole = np.abs(both) + np.abs(progress)
    np.divide(both, whole, out=share, where=whole > 0)
    return share


def _measured(names: Iterable[str]) -> list[int]:
    """Return the batch sizes among names of quantities."""
    prefix = "update_coverage[B="
    return sorted(int(name[len(prefix) : -1]) for name in names if name.startswith(prefix))


def _tables(exhibit: Exhibit, values: Values, step: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the batch sizes that were measured, and for each seed a table of values, shape (look, size)."""
    seen = [track for run in exhibit.arms[CHECKPOINTS] if (track := arm_tracks(exhibit).get(run.id)) is not None]
    found = _measured({name for track in seen for name in track.values})
    if not found:
        return np.array([]), []
    return np.array(found, dtype=float), [np.stack([values(one, size, step) for size in found], axis=1) for one in seen]


def _trend(exhibit: Exhibit, name: str, values: Values, step: str, unit: str, flat: float) -> Part:
    """Return the test of "it rises with the batch size": slopes on log2 batch size, averaged over each seed's looks."""
    found, tables = _tables(exhibit, values, step)
    by_look = [slopes_by_seed(np.log2(found), one) for one in tables]
    slopes = np.array([one[np.isfinite(one)].mean() for one in by_look if np.isfinite(one).any()])
    estimate = mean_estimate(
        slopes, unit=f"{unit} per doubling", definition=f"slope on log2 batch size, mean over checkpoints; {STEPS[step]}"
    )  # fmt: skip
    part = band(name, estimate, 0.0, np.inf, counts=step == "length")
    if part.outcome is not Outcome.INCONCLUSIVE or not flat or len(slopes) < 2:
        return part
    is_flat = paired_difference(slopes, equivalence_margin=flat).equivalence_p < 0.05
    return dataclasses.replace(part, outcome=Outcome.EQUIVALENT) if is_flat else part


def _outcome(parts: tuple[Part, ...]) -> Outcome:
    """Return the whole: supported if all agrees; refuted if nothing rises and the intervention does not help."""
    five, gain = [part.outcome for part in parts[:5]], parts[5].outcome
    if all(one is Outcome.SUPPORTED for one in five):
        return Outcome.SUPPORTED
    none = {Outcome.REFUTED, Outcome.EQUIVALENT}
    is_gap = five[1] is Outcome.SUPPORTED
    return Outcome.REFUTED if is_gap and {five[3], five[4], gain} <= none else Outcome.INCONCLUSIVE


def _notes(parts: tuple[Part, ...]) -> list[str]:
    linear = next(part for part in parts if part.name.endswith(f"({STEPS['linear']})"))
    if linear.outcome is Outcome.SUPPORTED and parts[3].outcome is not Outcome.SUPPORTED:
        return [
            "gradients shift more only where steps grow with the batch size: the step's length does it, not the batch"
        ]
    return []


def _figure(exhibit: Exhibit) -> Figure | None:
    lines = []
    for step, words in STEPS.items():
        found, tables = _tables(exhibit, _shift, step)
        rows = [np.exp([column[np.isfinite(column)].mean() if np.isfinite(column).any() else np.nan for column in one.T])
                for one in tables]  # fmt: skip
        if rows:
            lines.append(line(words, list(found), np.array(rows), logarithmic=True))
    if not any(one.points for one in lines):
        return None
    return Figure("batch size", "gradient shift per loss removed", tuple(lines), log_y=True)


def _imagined_shifts(
    run: Run, looks: np.ndarray, *, true: bool, noise: float, generator: np.random.Generator
) -> dict[str, np.ndarray | float]:  # fmt: skip
    """Return shifts that rise with the batch size, or progress that does and makes them fall per progress."""
    found: dict[str, np.ndarray | float] = {}
    paired = 0.05 * noise * generator.normal()
    for size in _measured(run.measurements[0].quantities):
        for step in STEPS:
            length = size / 64 if step == "linear" else 1.0
            own = np.exp(paired + 0.1 * noise * generator.normal(size=(3, len(looks))))
            progress = 0.1 * own[0] / np.sqrt(1.0 if true else 1 + 200 / size) / (1 + looks / 10)
            interaction = 0.01 * own[1] * progress * (size**0.4 if true else 1 + 50 / size)
            end = f"[B={size},step={step}]"
            found[f"gradient_shift{end}"] = 0.2 * own[2] * length * (size**0.3 if true else 1.0)
            found[f"step_progress{end}"] = progress
            found[f"interaction{end}"] = interaction * length
        found[f"update_coverage[B={size}]"] = 1 - 0.3 / size * np.exp(0.05 * noise * generator.normal(size=len(looks)))
    return found
