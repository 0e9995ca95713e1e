"""K-1: the third answer to the founding question, given from experience with Keras.

Keras itself is not run: what the answer describes is a loop of plain SGD on a multilayer perceptron, and that is what
runs here. "The same learning rate" is one that suits the smallest batch size of 16 or more (the answer begins at 32).
"""

from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..analysis.grid import Track
from ..budgets.epochs import Epochs
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Part, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.parts import band, equivalence, nothing, verdict
from ..judging.protocol import runs, seeds
from ..judging.reading import Reader, arm_grid, at, at_end
from ..judging.same_rate import EPOCHS, POLICY, SWEEP, SameRate, same_rate, same_rate_sweep
from ..plan import Plan, Run
from ..statistics.censoring import crossing
from ..statistics.means import mean_estimate

SUMMED = "summed loss"
MORE = 100.0  # times the epochs, at most, that "until converged" may take


@final
class PreventsConvergence(Claim):
    """Which share of seeds learns the training set, by batch size, at one learning rate and equal epochs.

    A run has converged if it classifies 95 % of the training set correctly (another metric: 95 % of the way to the best
    that the smallest batch size reaches). The claim holds as stated if all seeds do at the smallest batch size and none
    at the whole training set; at least half must be lost between them. What is told besides says why: whether it would
    converge with more epochs (up to a hundred times as many: the 2,000 updates of the sweep), at its own best rate, or
    with the loss summed over the batch, which multiplies the rate by the batch size.
    """

    id = "K-1"
    statement = "A batch size that is too large can prevent SGD on a multilayer perceptron from converging."
    source = "third answer to the founding question, on Keras"
    about = "optimization"
    kinds = (Kind.DIRECTION,)
    budget = "equal epochs (30); told besides: until converged"
    policy = POLICY
    reads_sweep = True

    converged = 0.95
    lost = 0.5  # of the seeds, at least
    steady = 0.75  # of the seeds have to converge at the smallest batch size
    alike = 0.01  # of training accuracy

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {SWEEP: same_rate_sweep(facts["main"], scale)}

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        same = same_rate(exhibit)
        rate = same.chosen()
        if rate is None or len(same.sizes) < 2:
            return {}
        larger = same.sizes[1:]
        plan = runs(
            exhibit.facts["main"], batch_sizes=larger, rates={size: [rate * size / same.sizes[0]] for size in larger},
            seeds=seeds(exhibit.scale), budget=Epochs(EPOCHS[exhibit.scale]),
        )  # fmt: skip
        return {SUMMED: plan}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        same = same_rate(exhibit)
        sizes, facts = same.sizes, same.grid.facts
        quantity = f"train_{facts.metric}"
        reached = same.table(at("epochs", same.epochs, quantity, facts))
        if len(sizes) < 2 or not np.isfinite(reached[:, 0]).any():
            return verdict(self.id, exhibit, [self._nothing("no learning rate was tried at every batch size")])
        goal = self._goal(same, reached)
        done = _success(at("epochs", same.epochs, quantity, facts), goal, facts)
        success = same.table(done)
        if not _mean(success[:, 0]) >= self.steady:
            reason = f"the smallest batch size, {sizes[0]}, does not converge itself"
            return verdict(self.id, exhibit, [self._nothing(reason)])
        more = _in_time(quantity, goal, same.epochs * MORE, facts)
        shares = {
            "with more epochs": same.table(more)[:, -1],
            "at its own best rate": same.tuned(done)[:, -1],
            "with the loss summed": _row(exhibit, SUMMED, sizes[-1], done),
        }
        ends = same.table(at_end(quantity))
        parts = [
            self._share(
                f"batch size {sizes[-1]} prevents what {sizes[0]} achieves", success[:, 0] - success[:, -1],
                "share of seeds that converge at the smallest batch size less that at the largest",
            ),
            *(self._share(f"the largest converges {name}", values, f"share of seeds that converge {name}", counts=False)
              for name, values in shares.items()),
            equivalence(
                "trained longer, the largest batch fits as well", ends[:, -1] - reached[:, 0], margin=self.alike,
                unit=quantity.replace("_", " "), counts=False,
                definition=f"batch size {sizes[-1]} at the end less {sizes[0]} after {same.epochs:g} epochs",
            ),
        ]  # fmt: skip
        figure = Figure(
            "batch size", "share of seeds that converge",
            (line(f"after {same.epochs:g} epochs", sizes, success), line("in the end", sizes, same.table(more))),
        )  # fmt: skip
        return verdict(self.id, exhibit, parts, figure=figure, notes=_cause(shares, success))

    def _goal(self, same: SameRate, reached: np.ndarray) -> float:
        if same.grid.facts.metric == "accuracy":
            return self.converged
        none = np.array([np.nan])
        start = same.table(lambda track: float(track.values.get(f"train_{same.grid.facts.metric}", none)[0]))[:, 0]
        return _mean(start) + self.converged * _mean(reached[:, 0] - start)

    def _share(self, name: str, values: np.ndarray, definition: str, *, counts: bool = True) -> Part:
        known = values[np.isfinite(values)]
        effect = mean_estimate(known, unit="of seeds", definition=definition)
        return band(name, effect, self.lost, np.inf, kind=Kind.DIRECTION, counts=counts)

    def _nothing(self, reason: str) -> Part:
        name = "a large batch prevents what a small one achieves"
        return nothing(name, Kind.DIRECTION, reason, "of seeds", "share of seeds that converge", f"above {self.lost:g}")

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        return _imagined_steps({"true": 0.8, "false": 4.0, "silent": 0.1}[world], generator)


def _success(read: Reader, goal: float, facts: TaskFacts) -> Reader:
    """Return a reader of 1 where a value is past the goal, 0 where it is not or the run diverged, NaN where unknown."""
    sign = 1.0 if facts.better == "above" else -1.0

    def found(track: Track) -> float:
        if not track.completed:
            return 0.0
        value = read(track)
        return float(sign * value >= sign * goal) if np.isfinite(value) else np.nan

    return found


def _in_time(quantity: str, goal: float, epochs: float, facts: TaskFacts) -> Reader:
    """Return a reader of 1 where a quantity was seen to stay past the goal within so many epochs, else 0."""

    def read(track: Track) -> float:
        values = track.values.get(quantity)
        if values is None or not track.completed:
            return 0.0
        found = crossing(track.examples, values, goal, facts.better)
        return float(found is not None and found <= epochs * (facts.train_size or 1))

    return read


def _row(exhibit: Exhibit, arm: str, size: int, read: Reader) -> np.ndarray:
    """Return `read` of an arm with one learning rate at a batch size, shape (seed,); empty where there is no such arm."""
    if arm not in exhibit.arms:
        return np.array([])
    grid = arm_grid(exhibit, arm)
    return grid.table(size, read)[0] if size in grid.tracks else np.array([])


def _mean(values: np.ndarray) -> float:
    """Return the mean of what is finite; NaN if nothing is."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _cause(shares: Mapping[str, np.ndarray], success: np.ndarray) -> tuple[str, ...]:
    """Return why the largest batch size does not converge, in words."""
    if not _mean(success[:, -1]) < 0.5:
        return ("the largest batch size converges as well",)
    is_slow = _mean(shares["with more epochs"]) >= 0.5
    notes = ["cause: " + ("too few updates, more epochs are enough" if is_slow else "it was not seen with more epochs")]
    if _mean(shares["with the loss summed"]) < 0.5:
        notes.append("with the loss summed over the batch, the rate is too large: training fails")
    return tuple(notes)


def _imagined_steps(speed: float, generator: np.random.Generator) -> Imagined:
    """Return training whose error falls with steps times learning rate, unless the rate is too large for the batch.

    Args:
        speed: Of the fall.
        generator: Of seeds' luck and of runs' own.
    """
    luck = generator.normal(size=64)

    def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
        limit = 1.5 * run.batch_size / (run.batch_size + 16)
        own = 0.1 * luck[run.seed % 64] + 0.1 * generator.normal()
        wrong = 0.9 * np.exp(-speed * (run.learning_rate * looks) ** 0.4 + own * (looks > 0))
        if run.learning_rate > limit:
            wrong = np.full(len(looks), 0.9)
        bumps = 0.002 * generator.normal(size=len(looks)) - 0.005 * np.log2(run.learning_rate / 0.25) ** 2
        right = np.clip(1 - wrong, 0.0, 1.0)
        test = 0.1 + 0.92 * (right - 0.1) + bumps * (looks > 0)
        return {
            "train_loss": 2.3 * wrong + 1e-9,
            "train_accuracy": right,
            "validation_accuracy": test,
            "test_accuracy": test,
        }

    return values
