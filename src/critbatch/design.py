"""The design of a sweep: which batch sizes, learning rates and seeds, for how long; and what to try next."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from .analysis.choice import Choice, extension
from .batch_policies.adascale import AdaScale
from .batch_policies.cabs import CABS
from .batch_policies.instead_of_decay import InsteadOfDecay
from .batch_policies.noise_controlled import NoiseControlled
from .batch_policies.norm_test import NormTest
from .batch_policies.ramp import Ramp
from .batch_policies.seesaw import Seesaw
from .batch_policies.step_decay import StepDecay
from .batch_policy import BatchPolicy
from .budget import Budget
from .measurement import Measurement
from .measurements.adaptive_sharpness import AdaptiveSharpness
from .measurements.curvature import LossCurvature
from .measurements.keskar_sharpness import KeskarSharpness
from .measurements.noise_covariance import NoiseCovariance
from .measurements.solution_line import SolutionLine
from .optimizer import Optimizer
from .optimizers.sgd import SGD
from .plan import Plan, describe, sweep
from .sampling import Sampling
from .samplings.steered import Steered
from .schedule import Schedule
from .task import Target, Task

PILOT_POWERS = range(-3, 3)
GRID_POWERS = range(-3, 4)
DTYPES = ("float32", "float64")
MOST_EXTENSIONS = 3
EXTENSION = 2
LARGEST_DEFAULT = 8192
POLICIES = 8  # that change the batch size, at most
DECISIONS = 8  # of each that looks at the noise, on the way to the target
LINE_FROM = 16  # examples in a batch: the smallest from which a line is drawn
END_MEASUREMENTS: tuple[Measurement, ...] = (
    KeskarSharpness(epsilons=(1e-3,), per_decade=0), LossCurvature(trace_products=4, per_decade=0),
    AdaptiveSharpness(per_decade=0), NoiseCovariance(examples=1000, per_decade=0),
)  # fmt: skip


@final
@dataclass(frozen=True)
class Design:
    """What a sweep varies and what it holds fixed. Without `learning_rates` the grid of each batch size is searched.

    Attributes:
        batch_sizes: Examples per step.
        seeds: Paired across the grid.
        fresh_seeds: On which each batch size's best learning rate is trained once more, for numbers that its choice
            does not flatter; may be empty.
        budget: Of every run.
        learning_rates: One list for all batch sizes, or empty: search.
        micro_batch_size: Examples per forward pass, or None for whole batches.
        minima: Whether to look at the solutions as well: sharpness, width, noise.
        ramps: Whether to try batch sizes that change while training goes on.
    """

    batch_sizes: tuple[int, ...]
    seeds: tuple[int, ...]
    budget: Budget
    optimizer: Optimizer
    schedule: Schedule
    sampling: Sampling
    learning_rates: tuple[float, ...] = ()
    fresh_seeds: tuple[int, ...] = ()
    micro_batch_size: int | None = None
    dtype: str = "float32"
    minima: bool = False
    ramps: bool = False

    def check(self, task: Task) -> None:
        """Do nothing if the design can be carried out on `task`.

        Raises:
            ValueError: If it cannot: a batch size above the training set, an unknown dtype, no seed.
        """
        if self.dtype not in DTYPES:
            raise ValueError(f"`Design(dtype={self.dtype!r})`: use one of {', '.join(DTYPES)}.")
        self.grid(task, dict.fromkeys(self.batch_sizes, self.optimizer.first_learning_rate))

    def pilot(self, task: Task) -> Plan:
        """Return the coarse search: six learning rates a factor of four apart, one seed."""
        first = self.optimizer.first_learning_rate
        return self._sweep(task, lambda _: [first * 4.0**power for power in PILOT_POWERS], self.seeds[:1])

    def grid(self, task: Task, centres: dict[int, float]) -> Plan:
        """Return the grid proper: the given learning rates, or seven a factor of two apart around each centre."""
        if self.learning_rates:
            return self._sweep(task, self.learning_rates, self.seeds)
        return self._sweep(task, lambda size: [centres[size] * 2.0**power for power in GRID_POWERS], self.seeds)

    def extended(self, task: Task, choices: dict[int, Choice], *, factor: float, seeds: Sequence[int]) -> Plan | None:
        """Return runs beyond the open edge of each batch size's bracket, or None when every best lies inside."""
        rates = {size: extension(choice, factor, EXTENSION) for size, choice in choices.items()}
        open_sizes = {size: tried for size, tried in rates.items() if tried}
        if self.learning_rates or not open_sizes:
            return None
        plans = [self._sweep(task, tried, seeds, (size,)) for size, tried in open_sizes.items()]
        return Plan(tuple(run for plan in plans for run in plan.runs))

    def confirmed(self, task: Task, rates: dict[int, float]) -> Plan:
        """Return the best learning rate of each batch size on the fresh seeds."""
        plans = [self._sweep(task, [rate], self.fresh_seeds, (size,)) for size, rate in rates.items()]
        return Plan(tuple(run for plan in plans for run in plan.runs))

    def measured(self, task: Task, size: int, rate: float, measurements: tuple[Measurement, ...]) -> Plan:
        """Return the runs of one cell again, with measurements."""
        return self._sweep(task, [rate], self.seeds, (size,), measurements)

    def ends(self, task: Task, rates: dict[int, float]) -> Plan:
        """Return the best learning rate of each batch size again, its solutions measured: sharpness, noise, and width.

        The width is along the line from the solution of the smallest batch size of 16 or more, which is trained anew, to
        that of each larger one; not where the budget does not say how many epochs the former takes.
        """
        small = min((size for size in rates if size >= LINE_FROM), default=max(rates))
        steps = self.budget.most_steps(small, len(task.train))
        plans = []
        for size, rate in rates.items():
            measured = END_MEASUREMENTS
            if size > small and math.isfinite(steps):
                epochs = max(1, round(steps * small / len(task.train)))
                measured += (SolutionLine(small, rates[small], epochs, self.optimizer, directions=2),)
            plans.append(self.measured(task, size, rate, measured))
        return Plan(tuple(run for plan in plans for run in plan.runs))

    def steered(self, task: Task, first: dict[int, tuple[float, int, int]], target: Target) -> Plan:
        """Return every policy from every first batch size on, at as many learning rates as a fixed one has.

        Policies that follow a calendar act when a quarter, a half and three quarters of the examples have been seen that
        the first batch size needs to the target when it stays. Runs end at the target.

        Args:
            task: What to train.
            first: By first batch size: its best learning rate, its steps and its examples to the target.
            target: Where runs end.
        """
        plans = []
        for size, (rate, steps, examples) in first.items():
            for policy in policies(
                steps, examples, is_plain=isinstance(self.optimizer, SGD) and not self.optimizer.momentum
            ):
                other = replace(self, sampling=Steered(policy), micro_batch_size=None)
                rates = [rate * 2.0**power for power in GRID_POWERS]
                plans.append(other._sweep(task, rates, self.seeds, (size,)))
        return Plan(tuple(replace(run, target=target) for plan in plans for run in plan.runs))

    def size(self) -> tuple[int, int]:
        """Return how many runs the design needs, and how many at most if every bracket has to be extended."""
        cells = len(self.learning_rates) or len(GRID_POWERS)
        runs = len(self.batch_sizes) * (len(self.seeds) * (cells + self.minima) + len(self.fresh_seeds)) + len(
            self.seeds
        )
        if self.ramps:
            runs += 2 * POLICIES * len(GRID_POWERS) * len(self.seeds) + POLICIES * len(self.fresh_seeds)
        if self.learning_rates:
            return runs, runs
        shared = sum(power % 2 == 0 for power in GRID_POWERS)  # pilot rates that are in the grid too
        pilot = len(self.batch_sizes) * (len(PILOT_POWERS) - shared)
        more = len(self.batch_sizes) * MOST_EXTENSIONS * EXTENSION * (1 + len(self.seeds))
        return runs + pilot, runs + pilot + more

    def describe(self) -> dict[str, Any]:
        """Return the design as JSON types."""
        return {key: describe(value) for key, value in vars(self).items()}

    def _sweep(
        self, task: Task, rates: Sequence[float] | Callable[[int], Sequence[float]], seeds: Sequence[int],
        sizes: Sequence[int] = (), measurements: tuple[Measurement, ...] = (),
    ) -> Plan:  # fmt: skip
        return sweep(
            task, batch_sizes=sizes or self.batch_sizes, learning_rates=rates, seeds=seeds, optimizer=self.optimizer,
            schedule=self.schedule, sampling=self.sampling, budget=self.budget, measurements=measurements,
            micro_batch_size=self.micro_batch_size, dtype=self.dtype,
        )  # fmt: skip


def default_batch_sizes(train_size: int, factor: int = 4) -> tuple[int, ...]:
    """Return 1, 4, 16, ... and the whole training set; of a large one batches up to 8,192, to end in a day."""

    def powers() -> Iterator[int]:
        size = 1
        while size < train_size:
            yield size
            size *= factor

    return tuple(size for size in (*powers(), train_size) if size <= LARGEST_DEFAULT)


def policies(steps: int, examples: int, *, is_plain: bool) -> tuple[BatchPolicy, ...]:
    """Return the policies that a sweep compares with fixed batch sizes.

    Those that look at the noise decide about `DECISIONS` times on the way to the target, and observe half of the steps.

    Args:
        steps: To the target with a fixed batch.
        examples: Likewise.
        is_plain: Whether the optimizer is plain SGD, for which alone CABS is made.
    """
    at = tuple(max(quarter, examples * quarter // 4) for quarter in (1, 2, 3))
    every = max(4, steps // DECISIONS)
    looks = min(every // 2, 20)
    observed = {"every": every, "looks": looks}
    found: tuple[BatchPolicy, ...] = (
        Ramp(at, (2.0, 4.0, 8.0)), InsteadOfDecay(at), Seesaw(at), StepDecay(at),
        NormTest(**observed), NoiseControlled(**observed), AdaScale(**observed),
    )  # fmt: skip
    return (*found, CABS(**observed)) if is_plain else found
