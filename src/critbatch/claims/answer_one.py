"""QA-1 and QA-3: the first answer to the founding question. One larger update is better; for the same data, more smaller ones."""

from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Grid
from ..analysis.heights import Heights, fitted
from ..analysis.readings import common_amount
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Part, Scale, Verdict, World
from ..curves.hyperbola import Hyperbola
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.loss_goals import LOSS, examples_line, goal_heights, loss_goals
from ..judging.one_step import (
    Changes,
    best_rates,
    changes,
    gains_by_seed,
    left_over_part,
    made_up,
    measured_arm,
    path_arm,
)
from ..judging.parts import all_of, band, none_beats, nothing, slope_estimate, slopes_by_seed, verdict
from ..judging.protocol import common_sweep
from ..judging.reading import arm_grid, at, table, tuned
from ..plan import Plan, Run
from ..statistics.resampling import replicate_estimate
from ..statistics.saturating import saturating, unexplained

TINY = 1e-12  # below any loss that is told apart from 0


@final
class BiggerUpdateIsBetter(Claim):
    """The expected change of the whole training loss after one step, at the best learning rate of each batch size.

    Single steps are tried from parameters frozen along a path of plain SGD. Of the mean over batches, for the training
    loss and at tuned rates: single draws, the test loss, and fixed rates where noise meets negative curvature are another
    matter; the last is counted in a note.
    """

    id = "QA-1"
    statement = "One update with a larger batch is better than one update with a smaller batch."
    source = "first answer to the founding question; theory: McCandlish et al. (2018), arXiv:1812.06162, Section 2.2"
    about = "optimization"
    kinds = (Kind.TREND, Kind.DIRECTION, Kind.MODEL)
    budget = "one update, from parameters frozen after 0, 1, 10, 100 and 1,000 steps"
    policy = "best of a ladder of rates a factor of 2 apart at each batch size, chosen by the other seeds"

    MARGIN = 0.05  # of the gain of two neighbours: a loss of less does not matter
    LEFT_OVER = 0.1  # of the variance of log gain: R^2 above 0.9

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
            return verdict(self.id, exhibit, [_no_steps("the gain rises with the batch size", Kind.TREND)])
        gains = gains_by_seed(found)
        parts = [self._rises(found, gains), self._never_falls(gains), self._saturates(found)]
        outcome = all_of(parts)
        if outcome is Outcome.REFUTED and Outcome.REFUTED not in {part.outcome for part in parts[:2]}:
            outcome = Outcome.INCONCLUSIVE  # larger is not worse: it is the formula that fails
        figure = Figure(
            "batch size",
            "gain of one step, of the largest batch's",
            (line("tuned", list(found.sizes), _relative(gains)),),
            log_y=True,
        )
        return verdict(self.id, exhibit, parts, outcome=outcome, figure=figure, notes=_fixed_rates(found))

    def _rises(self, found: Changes, gains: np.ndarray) -> Part:
        return band(
            "the gain rises with the batch size",
            slope_estimate(
                np.log2(found.sizes), _relative(gains), unit="of the largest batch's gain, per doubling",
                definition="slope of the expected fall of the training loss in one step on log2 batch size, mean over looks",
            ),
            0.0, np.inf,
        )  # fmt: skip

    def _never_falls(self, gains: np.ndarray) -> Part:
        middle = (gains[..., 1:] + gains[..., :-1]).mean(0) / 2
        leads = _mean_over_looks((gains[..., 1:] - gains[..., :-1]) / np.where(middle > 0, middle, np.nan))
        return none_beats(
            "no batch size gains less than the next smaller one", list(leads.T), margin=self.MARGIN, unit="of their mean gain",
            definition="gain of one step less that at the next smaller batch size, relative, mean over looks",
        )  # fmt: skip

    def _saturates(self, found: Changes) -> Part:
        _, gains = best_rates(found)
        shares = unexplained(saturating(found.scarcity, gains))
        return left_over_part("the gain saturates as theory says", shares, self.LEFT_OVER, of="gain")

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = {"true": 0.1, "false": 0.1, "silent": 1.0}[world]
        shift = generator.normal(0, noise, size=64)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray]:
            def curvature(size: int) -> np.ndarray:
                scale = 30 * (1 + looks) ** 0.5 * np.exp(shift[run.seed])
                wanted = {"true": 1 + scale / size, "false": 1 + 0.3 * np.log2(size), "silent": 4.0}[world]
                return wanted * np.exp(generator.normal(0, noise, size=len(looks)))

            return made_up(run, looks, curvature)

        return values


@final
class SmallerUpdatesForTheSameData(Claim):
    """How many examples it takes to a training loss, above the critical batch size of each of four such goals.

    Theory says E = E_min (1 + B/B_crit): the claim is false far below B_crit, where examples do not depend on the batch
    size, and true above. Goals and B_crit come from the same sweep.
    """

    id = "QA-3"
    statement = "For the same amount of data, more and smaller updates get further."
    source = "first answer to the founding question; theory: McCandlish et al. (2018), arXiv:1812.06162, Equation 2.11"
    about = "optimization"
    kinds = (Kind.TREND,)
    budget = "examples to four goals of training loss; beside it, training loss at equal epochs (1, 3, 10, 30)"
    policy = "tuned at each batch size and goal, chosen by the other seeds"
    reads_sweep = True

    SHARES = (0.3, 0.5, 0.7, 0.9)  # of the way, in log loss
    EPOCHS = (1, 3, 10, 30)
    FEWEST = 3  # of the largest batch sizes that count as large where B_crit lies beyond

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"sweep": common_sweep(facts["main"], scale)}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        grid = arm_grid(exhibit, "sweep")
        sizes = np.array(grid.batch_sizes(), dtype=float)
        goals = loss_goals(grid, self.SHARES) if len(sizes) >= self.FEWEST else []
        if not goals:
            why = f"needs {self.FEWEST} batch sizes that lower the training loss"
            words = ("log examples per log batch size", "slope above the critical batch size", "95% interval above 0")
            return verdict(self.id, exhibit, [nothing("examples grow with the batch size", Kind.TREND, why, *words)])
        found = [goal_heights(grid, goal) for goal in goals]
        criticals = [_critical(one) for one in found]
        slopes = [_steepness(one, critical, self.FEWEST) for one, critical in zip(found, criticals, strict=True)]
        effect = _mean_slope([one for one in slopes if one is not None], found[0])
        parts = [band("examples grow with the batch size", effect, 0.0, np.inf), *self._at_equal_epochs(grid)]
        lines = tuple(examples_line(f"training loss {goal:.2g}", one) for goal, one in zip(goals, found, strict=True))
        figure = Figure("batch size", "examples to a training loss", lines, log_y=True)
        notes = [
            f"training loss {goal:.3g}: "
            + (f"critical batch size {at:.3g}" if np.isfinite(at) else "steps do not level off")
            for goal, at in zip(goals, criticals, strict=True)
        ]
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    def _at_equal_epochs(self, grid: Grid) -> list[Part]:
        """Return for each number of epochs whether the training loss rises with the batch size."""
        sizes = grid.batch_sizes()
        parts = []
        for epochs in self.EPOCHS:
            if epochs > common_amount(grid, "epochs") * 1.001:
                continue
            reader = at("epochs", epochs, LOSS, grid.facts)
            losses = table(grid, sizes, lambda size, reader=reader: tuned(grid, size, score=reader))
            slope = slope_estimate(
                np.log2(sizes), np.log(np.maximum(losses, TINY)), unit="log loss per doubling",
                definition=f"slope of log training loss after {epochs} epochs on log2 batch size, all batch sizes",
            )  # fmt: skip
            parts.append(
                band(f"after {epochs} epochs the loss rises with the batch size", slope, 0.0, np.inf, counts=False)
            )
        return parts

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = {"true": 0.1, "false": 0.1, "silent": 1.0}[world]
        by_seed = generator.normal(size=64)

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            size = run.batch_size
            examples = 40_000 * (1 + min(size, 64) / 64) * (64 / max(size, 64)) ** 0.5  # it takes fewer and fewer
            needed = {"true": 200 + 20_000 / size, "false": examples / size, "silent": 100_000 / size}[world]
            best = min(2.0 ** (5 * np.log(size) / np.log(256) - 5), 1.0)
            slower = 0.1 * np.log2(run.learning_rate / best) ** 2 + noise * (
                0.5 * by_seed[run.seed] + generator.normal()
            )
            loss = 2.3 * np.exp(-((looks / (needed * np.exp(slower))) ** 1.2))
            return {"train_loss": loss, "validation_accuracy": 1 - loss / 3}

        return values


def _critical(found: Heights) -> float:
    """Return B_crit of the hyperbola; infinite where steps do not level off, 0 where they do not fall."""
    if len(found.sizes) < 2:
        return np.inf
    s_min, e_min = fitted(Hyperbola(), found)[0]
    return 0.0 if e_min <= 0 else np.inf if s_min <= 0 else float(e_min / s_min)


def _steepness(found: Heights, critical: float, fewest: int) -> np.ndarray | None:
    """Return the slope of log examples on log batch size at and above `critical`, or at the largest, (replicate,)."""
    large = (found.sizes >= critical) | (np.arange(len(found.sizes)) >= len(found.sizes) - fewest)
    if large.sum() < 2 or not np.isfinite(found.logs).all():
        return None
    return slopes_by_seed(np.log(found.sizes[large]), (found.logs + np.log(found.sizes))[:, large])


def _mean_slope(slopes: list[np.ndarray], found: Heights) -> Estimate:
    words = {
        "unit": "log examples per log batch size",
        "definition": "slope of log examples to a training loss on log batch size above the critical one, mean over goals",
    }
    if not slopes or not found.groups:
        return Estimate.missing("too few batch sizes reach a goal with every seed, or too few seeds", **words)
    method = f"least squares, {found.method}"
    return replicate_estimate(np.mean(slopes, 0), found.groups, level=0.95, count=found.count, method=method, **words)


def _no_steps(name: str, kind: Kind) -> Part:
    why = "no step was measured: the path did not train, or lacks seeds"
    return nothing(name, kind, why, "loss", "change of the training loss in one step", "95% interval above 0")


def _mean_over_looks(values: np.ndarray) -> np.ndarray:
    """Return the mean over the second axis of what is finite there; NaN where nothing is."""
    known = np.isfinite(values)
    return np.where(known.any(1), np.where(known, values, 0).sum(1) / np.maximum(known.sum(1), 1), np.nan)


def _relative(gains: np.ndarray) -> np.ndarray:
    """Return gains (seed, look, size) as shares of the seeds' mean gain at the largest size that has one, (seed, size)."""
    means = _mean_over_looks(np.moveaxis(gains, 0, 1))  # over seeds: (look, size)
    last = np.array([row[np.isfinite(row)][-1] if np.isfinite(row).any() else np.nan for row in means])
    return _mean_over_looks(gains / np.where(last > 0, last, np.nan)[None, :, None])


def _fixed_rates(found: Changes) -> tuple[str, ...]:
    """Return how often, at the same learning rate, the smallest batch gains more than the largest."""
    small, large = (int(found.sizes[place]) for place in (0, -1))
    shared = [rate for rate in found.rates[small] if rate in found.rates[large]]
    columns = [[list(found.rates[size]).index(rate) for rate in shared] for size in (small, large)]
    ahead = (
        found.values[large][..., columns[1]] - found.values[small][..., columns[0]]
    )  # above 0: the small one gains more
    if len(ahead) < 2 or not shared:
        return ()
    with np.errstate(invalid="ignore"):
        error = ahead.std(0, ddof=1) / len(ahead) ** 0.5
        worse = int((ahead.mean(0) > 3 * error).sum())
    return (
        f"at equal learning rates, a batch of {small} gains more than {large} in {worse} of {error.size} cases (3 errors)",
    )
