"""What one sweep found, as frozen values; `to_json` of a `Finding` is the public `result.json`."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, final

from .curve import Fit
from .estimate import Estimate

SCHEMA_VERSION = 1


@final
@dataclass(frozen=True)
class TaskFacts:
    """What has to be known about a task to read its evidence without the task."""

    name: str
    revision: str
    train_size: int
    test_size: int
    validation_size: int | None
    parameters: int
    metric: str
    better: Literal["above", "below"]
    selection_split: str
    target_quantity: str | None
    target_value: float | None
    target_direction: Literal["above", "below"] | None
    target_origin: str


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
class Winner:
    """The best batch size under a budget, and whether its lead over each rival is more than noise.

    `tied` lists the batch sizes that are not distinguishable from the winner; `advantage` is over the runner-up;
    `compared` lists all that got there, the winner among them.
    """

    batch_size: int | None
    runner_up: int | None
    advantage: Estimate
    tied: tuple[int, ...]
    words: str
    compared: tuple[int, ...] = ()


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
class RatePoint:
    """The best learning rate of one batch size."""

    batch_size: int
    learning_rate: Estimate


@final
@dataclass(frozen=True)
class LearningRateRule:
    """The exponent of the best learning rate against the batch size, and the rules that the data do not exclude."""

    exponent: Estimate
    nearest: str | None
    not_excluded: tuple[str, ...]
    reason: str
    points: tuple[RatePoint, ...]


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
