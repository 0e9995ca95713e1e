"""What one sweep found, as frozen values; `to_json` of a `Finding` is the public `result.json`."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, final

from .curve import Fit
from .estimate import Estimate
from .ramp_finding import Ramps

SCHEMA_VERSION = 1


@final
@dataclass(frozen=True)
class TaskFacts:
    """What has to be known about a task to read its evidence without the task; None for what a log does not say.

    `is_bed` marks a test bed of the claims, of which it is known where good learning rates lie.
    """

    name: str
    revision: str
    train_size: int | None
    test_size: int | None
    validation_size: int | None
    parameters: int | None
    metric: str
    better: Literal["above", "below"]
    selection_split: str
    target_quantity: str | None
    target_value: float | None
    target_direction: Literal["above", "below"] | None
    target_origin: str
    equivalence_margin: float | None = None
    is_bed: bool = False


@final
@dataclass(frozen=True)
class Cell:
    """One batch size and learning rate, all seeds together."""

    batch_size: int
    learning_rate: float
    runs: int
    diverged: int
    infeasible: int
    failed: int
    reached: int
    steps_to_target: Estimate
    test_metric: Estimate
    best: bool
    edge: bool


@final
@dataclass(frozen=True)
class BatchSizeFinding:
    """One batch size at its best learning rate. Metrics are those at the end of the runs."""

    batch_size: int
    best_learning_rate: Estimate
    grid_learning_rate: float | None
    learning_rate_at_edge: Literal["none", "low", "high"]
    steps_to_target: Estimate
    examples_to_target: Estimate
    epochs_to_target: Estimate
    seconds_to_target: Estimate
    test_metric: Estimate
    train_loss: Estimate
    generalization_gap: Estimate
    diverged: int
    censored: int
    runs: int
    regime: str | None = None


@final
@dataclass(frozen=True)
class ReadingRow:
    """One batch size under one budget, at the learning rate that is best under this budget."""

    batch_size: int
    learning_rate: float | None
    test_metric: Estimate
    train_loss: Estimate


@final
@dataclass(frozen=True)
class Comparison:
    """The winner against one rival, by seed.

    Attributes:
        batch_size: The rival's.
        difference: By how much the winner is better, with Student's interval; a ratio where costs are compared.
        bootstrap: The same with a bootstrap-t interval; None with fewer than 4 seeds.
        t_p: Two-sided p-value of Student's test; `holm_p`, adjusted for all pairs of batch sizes.
        sign_p: Two-sided p-value of the exact sign test.
        equivalence_p: p-value of the two one-sided tests against `margin`, which was fixed beforehand.
        detectable: The smallest difference that Student's test would find four times in five; a ratio likewise.
        words: "better", "equivalent within ..." or "not resolved".
    """

    batch_size: int
    difference: Estimate
    bootstrap: Estimate | None
    t_p: float
    holm_p: float
    sign_p: float
    equivalence_p: float
    margin: float
    detectable: float | None
    words: str


@final
@dataclass(frozen=True)
class Winner:
    """The best batch size under a budget, and whether its lead over each rival is more than noise.

    `tied` lists the batch sizes that are not distinguishable from the winner; `advantage` is over the runner-up;
    `compared` lists all that got there, the winner among them; `rivals` holds the tests.
    """

    batch_size: int | None
    runner_up: int | None
    advantage: Estimate
    tied: tuple[int, ...]
    words: str
    compared: tuple[int, ...] = ()
    rivals: tuple[Comparison, ...] = ()


@final
@dataclass(frozen=True)
class Reading:
    """The whole sweep read at one amount of one budget. Rows of batch sizes that never got there have no value."""

    budget: str
    amount: float | None
    unit: str
    rows: tuple[ReadingRow, ...]
    winner: Winner


@final
@dataclass(frozen=True)
class CurvePoint:
    """Mean over seeds at one look of one batch size at its best learning rate."""

    batch_size: int
    learning_rate: float
    step: int
    epochs: float
    examples: float
    seconds: float
    train_loss: float
    test_metric: float
    test_metric_low: float | None
    test_metric_high: float | None


@final
@dataclass(frozen=True)
class NoisePoint:
    """The simple gradient noise scale at one look."""

    batch_size: int
    step: int
    epochs: float
    noise_scale: Estimate
    covariance_trace: float
    squared_norm: float


@final
@dataclass(frozen=True)
class SolutionPoint:
    """One number of the solutions that training ends in at one batch size, at its best learning rate.

    Attributes:
        measure: What was measured, in words.
        about: sharpness, width, noise, or the training loss, at which sharpness should be equal to be compared.
        invariant: Whether rescaling layers, which leaves the function alone, leaves the number alone.
        value: Geometric mean over seeds.
    """

    batch_size: int
    learning_rate: float
    measure: str
    about: Literal["sharpness", "width", "noise", "loss"]
    invariant: bool
    value: Estimate


@final
@dataclass(frozen=True)
class RatePoint:
    """The best learning rate of one batch size, and all rates that are not told apart from it."""

    batch_size: int
    learning_rate: Estimate
    plateau: tuple[float, ...] = ()


@final
@dataclass(frozen=True)
class RuleTest:
    """Whether the data exclude a learning rate scaling rule; `bend` is where it bends, if it does, at its best."""

    name: str
    bend: float | None
    p_value: float
    excluded: bool


@final
@dataclass(frozen=True)
class LearningRateRule:
    """The exponent of the best learning rate against the batch size, and the rules that the data do not exclude."""

    exponent: Estimate
    nearest: str | None
    not_excluded: tuple[str, ...]
    reason: str
    points: tuple[RatePoint, ...]
    tests: tuple[RuleTest, ...] = ()


@final
@dataclass(frozen=True)
class JointFit:
    """One surface through all runs: S(B, learning rate).

    Attributes:
        curvature: Of log steps in log learning rate.
        residual: Root mean square error of log steps, cells weighted by how near they are to the best.
        held_out_error: The same when a batch size is predicted from the others.
        cells: Batch sizes times learning rates used.
    """

    critical_batch_size: Estimate
    exponent: Estimate
    curvature: float
    residual: float
    held_out_error: float
    cells: int


@final
@dataclass(frozen=True)
class CriticalBatchSize:
    """One of the numbers that go by this name; `conversion` says how it follows from E_min/S_min."""

    name: str
    estimate: Estimate
    conversion: str


@final
@dataclass(frozen=True)
class Regime:
    """A range of batch sizes and what doubling the batch does there; boundaries with their intervals."""

    name: str
    low: Estimate | None
    high: Estimate | None
    words: str


@final
@dataclass(frozen=True)
class TargetFit:
    """The fitted curve at one target."""

    target: float
    s_min: Estimate
    e_min: Estimate
    critical_batch_size: Estimate
    reason: str | None


@final
@dataclass(frozen=True)
class TuningCurve:
    """Expected fewest steps to target of the best of n = 1, 2, ... learning rates, of those that reached it."""

    batch_size: int
    trials: int
    usable: int
    steps: tuple[float, ...]


@final
@dataclass(frozen=True)
class ParetoPoint:
    """What a batch size and a number of devices cost to the target; `efficient` if nothing is both faster and cheaper."""

    batch_size: int
    devices: int
    seconds: Estimate
    device_seconds: Estimate
    efficient: bool


@final
@dataclass(frozen=True)
class Alternative:
    """Another batch size worth taking, and for what."""

    batch_size: int
    learning_rate: Estimate
    seconds_to_target: Estimate
    examples_to_target: Estimate
    why: str


@final
@dataclass(frozen=True)
class Recommendation:
    """A batch size and a learning rate, why, what else to consider, and what to beware of."""

    batch_size: Estimate
    learning_rate: Estimate
    reasons: tuple[str, ...]
    alternatives: tuple[Alternative, ...]
    warnings: tuple[str, ...]


@final
@dataclass(frozen=True)
class Finding:
    """Everything that one sweep found."""

    task: TaskFacts
    device: str
    versions: dict[str, str]
    plan: dict[str, Any]
    seconds: float
    endings: dict[str, int]
    batch_sizes: tuple[BatchSizeFinding, ...]
    budgets: dict[str, tuple[Reading, ...]]
    flips: tuple[str, ...]
    fit: Fit | None
    noise_scale: tuple[NoisePoint, ...]
    learning_rate_rule: LearningRateRule
    recommendation: Recommendation | None
    recommendation_reason: str | None
    claims: tuple[dict[str, Any], ...]
    cells: tuple[Cell, ...]
    curves: tuple[CurvePoint, ...]
    warnings: tuple[str, ...]
    target_winners: dict[str, Winner] = field(default_factory=dict)
    critical_batch_sizes: tuple[CriticalBatchSize, ...] = ()
    regimes: tuple[Regime, ...] = ()
    targets: tuple[TargetFit, ...] = ()
    tuning: tuple[TuningCurve, ...] = ()
    joint_fit: JointFit | None = None
    pareto: tuple[ParetoPoint, ...] = ()
    time_optimal: Estimate | None = None
    next_runs: tuple[str, ...] = ()
    solutions: tuple[SolutionPoint, ...] = ()
    ramps: Ramps | None = None


def to_json(value: Any) -> Any:
    """Return a finding, or any part of one, as JSON types."""
    if isinstance(value, Finding):
        return {"schema_version": SCHEMA_VERSION, **_fields(value)}
    if isinstance(value, Estimate):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _fields(value)
    if isinstance(value, dict):
        return {str(key): to_json(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(part) for part in value]
    return value


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
