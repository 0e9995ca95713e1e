"""Synthetic findings, as a sweep would give them: a full one, a poor one and a hostile one."""

import math
import random
from typing import Any

from critbatch.curve import Fit
from critbatch.estimate import Estimate
from critbatch.finding import (
    Alternative,
    BatchSizeFinding,
    Cell,
    Comparison,
    CriticalBatchSize,
    CurvePoint,
    Finding,
    LearningRateRule,
    NoisePoint,
    ParetoPoint,
    RatePoint,
    Reading,
    ReadingRow,
    Recommendation,
    Regime,
    RuleTest,
    SolutionPoint,
    TargetFit,
    TaskFacts,
    TuningCurve,
    Winner,
)
from critbatch.ramp_finding import Ramps, SteeredArm
from tests.ramp_findings import ramps

SIZES = (1, 4, 16, 64, 256, 1024)
SEEDS = 5
TRAIN_SIZE = 1347
S_MIN, CRITICAL = 60.0, 90.0
REFERENCE_RATE = 0.5
EDGE, NEVER = 256, 1024
HOSTILE = "</script><script>window.hacked=1;alert(1)</script><img src=x onerror='window.hacked=1'>{{7*7}}"


def estimate(value: float, spread: float = 0.1, *, unit: str = "", count: int = SEEDS, what: str = "Mean") -> Estimate:
    """Return an estimate with a relative half-width of `spread`."""
    half = abs(value) * spread
    return Estimate(
        value, value - half, value + half, 0.95, count, unit, "t interval over seeds", f"{what} over seeds, in {unit}."
    )


def missing(reason: str, *, unit: str = "", low: float | None = None, high: float | None = None) -> Estimate:
    """Return an estimate without a value."""
    return Estimate.missing(reason, unit=unit, definition="As measured.", low=low, high=high)


def steps(size: float) -> float:
    """Return the true steps to target of the synthetic task."""
    return S_MIN * (1 + CRITICAL / size)


def best_rate(size: int) -> float:
    """Return the true best learning rate of the synthetic task."""
    return REFERENCE_RATE * (size / 64) ** 0.7


def rates(size: int) -> list[float]:
    """Return the grid of learning rates at `size`: eight powers of 2."""
    middle = round(math.log2(best_rate(size)))
    return [2.0 ** (middle + k) for k in range(-4, 4)]


def facts(name: str = "digits") -> TaskFacts:
    """Return what is known about the synthetic task."""
    return TaskFacts(
        name, "1", TRAIN_SIZE, 450, 200, 4810, "accuracy", "above", "validation", "test_accuracy", 0.95, "above",
        "90% of the best accuracy of the reference run",
    )  # fmt: skip


def batch_size_row(size: int) -> BatchSizeFinding:
    """Return one row of `batch_sizes`; batch size 1024 never gets to the target."""
    reached = size != NEVER
    reason = "0 of 5 runs reached test_accuracy >= 0.95 within 20 epochs."

    def to_target(value: float, unit: str) -> Estimate:
        return estimate(value, 0.12, unit=unit) if reached else missing(reason, unit=unit, low=value)

    count = steps(size) * (1.05 if size == 16 else 1.0)
    edge = size == EDGE
    rate = best_rate(size)
    return BatchSizeFinding(
        batch_size=size,
        best_learning_rate=missing("The best rate is the highest of the grid.", low=rate, unit="learning rate")
        if edge
        else estimate(rate, 0.35, unit="learning rate"),
        grid_learning_rate=2.0 ** round(math.log2(rate)),
        learning_rate_at_edge="high" if edge else "none",
        steps_to_target=to_target(count, "steps"),
        examples_to_target=to_target(count * size, "examples"),
        epochs_to_target=to_target(count * size / TRAIN_SIZE, "epochs"),
        seconds_to_target=to_target(count * (0.002 + 2e-6 * size), "s"),
        test_metric=estimate(0.975 - 0.004 * math.log2(size) ** 0.5 - (0.04 if size == NEVER else 0), 0.004),
        train_loss=estimate(0.01 + 0.004 * math.log2(2 * size), 0.2, unit="nats"),
        generalization_gap=estimate(0.06 - 0.001 * math.log2(2 * size), 0.3, unit="nats"),
        diverged=9 if size < 64 else 6,
        censored=0 if reached else 5,
        runs=SEEDS,
    )


def cell(size: int, rate: float) -> Cell:
    """Return one cell of the grid; the two highest learning rates diverge."""
    position = rates(size).index(rate)
    lost = {7: SEEDS, 6: 3}.get(position, 0)
    reached = 0 if size == NEVER or position in (0, 7) else SEEDS - lost
    off = abs(position - 4)
    return Cell(
        size, rate, SEEDS, lost, 0, 0, reached,
        estimate(steps(size) * 1.6**off, 0.1, unit="steps", count=reached) if reached
        else missing("No run of this cell reached the target.", unit="steps"),
        estimate(0.975 - 0.03 * off**1.5 - (0.04 if size == NEVER else 0), 0.005)
        if lost < SEEDS else missing("All 5 runs diverged."),
        best=position == 4, edge=position in (0, 7),
    )  # fmt: skip


def metric_after(size: int, examples: float) -> float:
    """Return the synthetic test accuracy after some examples."""
    return 0.975 - 0.875 * math.exp(-3 * examples / (steps(size) * size))


def curve(size: int) -> list[CurvePoint]:
    """Return the mean curve of one batch size at 24 looks."""
    total = 20 * TRAIN_SIZE / size
    looks = sorted({round(total ** (k / 24)) for k in range(1, 25)})
    noise = random.Random(size)
    points = []
    for step in looks:
        metric = metric_after(size, step * size) - abs(noise.gauss(0, 0.003))
        points.append(
            CurvePoint(
                size, best_rate(size), step, step * size / TRAIN_SIZE, float(step * size),
                step * (0.002 + 2e-6 * size), 2.3 * (1 - metric) + 0.01, metric, metric - 0.01, min(metric + 0.01, 1),
            )
        )  # fmt: skip
    return points


def reading(budget: str, amount: float | None, unit: str, examples: dict[int, float]) -> Reading:
    """Return the sweep read after so many examples at each batch size; sizes without an entry have no value."""
    rows = []
    for size in SIZES:
        if size in examples:
            metric, loss = (
                estimate(metric_after(size, examples[size]), 0.006),
                estimate(0.05 + 1 / (1 + examples[size]), 0.1, unit="nats"),
            )
        else:
            metric = loss = missing(f"Batch size {size} was not trained for that long.")
        rows.append(ReadingRow(size, best_rate(size), metric, loss))
    order = sorted((row for row in rows if row.test_metric.value), key=lambda row: -(row.test_metric.value or 0))
    first, second = order[0], order[1]
    tied = tuple(r.batch_size for r in order[1:] if (r.test_metric.high or 0) > (first.test_metric.value or 0))
    lead = (first.test_metric.value or 0) - (second.test_metric.value or 0)
    words = f"Batch size {first.batch_size} is ahead of {second.batch_size} by {lead:.3f}."
    advantage = Estimate(lead, lead - 0.004, lead + 0.004, 0.95, SEEDS, "", "paired t interval", "Difference.")
    return Reading(
        budget, amount, unit, tuple(rows), Winner(first.batch_size, second.batch_size, advantage, tied, words)
    )


def readings() -> dict[str, tuple[Reading, ...]]:
    """Return the sweep under five budgets."""
    epochs = dict.fromkeys(SIZES, 20.0 * TRAIN_SIZE)
    seconds = {size: 1 / (0.002 + 2e-6 * size) * size for size in SIZES}
    return {
        "epochs": tuple(
            reading("epochs", float(n), "epochs", {b: n * TRAIN_SIZE for b in SIZES if n * TRAIN_SIZE > b})
            for n in (1, 5, 20)
        ),
        "updates": tuple(
            reading("updates", float(n), "steps", {b: float(n * b) for b in SIZES if n * b <= 20 * TRAIN_SIZE})
            for n in (26, 100, 400)
        ),
        "examples": (reading("examples", 10_000.0, "examples", dict.fromkeys(SIZES, 10_000.0)),),
        "seconds": (reading("seconds", 1.0, "seconds of training", seconds),),
        "convergence": (reading("convergence", None, "converged runs", {b: 3 * n for b, n in epochs.items()}),),
    }


def solutions() -> tuple[SolutionPoint, ...]:
    """Return what solutions look like at each batch size; one number is missing."""
    measures = (("Metric 2.1", "sharpness", False), ("adaptive sharpness", "sharpness", True), ("width", "width", False),
                ("directions", "noise", False), ("training loss there", "loss", True))  # fmt: skip
    return tuple(
        SolutionPoint(
            size, best_rate(size), name, about, invariant,
            missing("no run has a value above 0") if size == 1 and about == "width" else estimate(2 + k + 0.1 * size, 0.2),
        )
        for k, (name, about, invariant) in enumerate(measures) for size in SIZES
    )  # fmt: skip


def noise(count: int = 12) -> tuple[NoisePoint, ...]:
    """Return the noise scale along training; the first and the last look are not determined."""
    points = []
    for k in range(count):
        scale = 8 * 1.45**k
        value = estimate(scale, 0.3, unit="examples", count=64)
        if k == 0:
            value = missing("The squared gradient norm is not above zero within its error.", unit="examples")
        if k == count - 1:
            value = missing(
                "The interval of the squared norm contains zero: only a lower bound is known.",
                low=300.0,
                unit="examples",
            )
        points.append(NoisePoint(64, 2**k, 2**k * 64 / TRAIN_SIZE, value, 3.0, 3.0 / scale))
    return tuple(points)


def fit() -> Fit:
    """Return a fit that is identified."""
    sizes = [1024 ** (k / 30) for k in range(31)]
    return Fit(
        "hyperbola", estimate(S_MIN, 0.1, unit="steps"), estimate(S_MIN * CRITICAL, 0.1, unit="examples"),
        Estimate(CRITICAL, 62.0, 131.0, 0.95, 25, "examples", "bootstrap over seeds, 2000 draws",
                 "E_min / S_min of the fitted curve S(B) = S_min + E_min / B"),
        Estimate(CRITICAL / 5, 12.4, 26.2, 0.95, 25, "examples", "bootstrap over seeds, 2000 draws",
                 "Batch size at which 20% more examples than E_min are needed"),
        True, None, 0.021, tuple((b, 0.88 * steps(b), steps(b), 1.12 * steps(b)) for b in sizes),
    )  # fmt: skip


def rule() -> LearningRateRule:
    """Return a learning-rate rule between square root and linear."""
    return LearningRateRule(
        Estimate(0.7, 0.58, 0.83, 0.95, 25, "", "bootstrap over seeds", "Slope of log best rate on log batch size"),
        None,
        (),
        "The interval excludes both the square-root rule (0.5) and the linear rule (1).",
        tuple(RatePoint(row.batch_size, row.best_learning_rate, (0.1, 0.2)) for row in map(batch_size_row, SIZES)),
        (RuleTest("linear", None, 0.001, True), RuleTest("saturating", 300.0, 0.4, False)),
    )


def recommendation() -> Recommendation:
    """Return a recommendation with an alternative and a warning."""
    return Recommendation(
        Estimate(64.0, 16.0, 64.0, 0.95, 25, "examples", "curve and measured seconds", "Fewest seconds to target"),
        estimate(0.5, 0.35, unit="learning rate"),
        (
            "Batch size 64 gets to 95 % in the fewest seconds; 256 is within noise of it but needs 2.6 times more.",
            "It lies below the critical batch size, so little of the computation is wasted.",
        ),
        (
            Alternative(
                16, estimate(0.18, 0.35), estimate(0.8, 0.1, unit="s"), estimate(6360, 0.1, unit="examples"),
                "Fewest examples: choose it when data is dear.",
            ),
        ),
        ("The best learning rate of batch size 256 lies at the edge of the grid: add higher rates.",),
    )  # fmt: skip


def claims() -> tuple[dict[str, Any], ...]:
    """Return two judged claims."""
    return (
        {
            "id": "shallue2019-critical", "statement": "Steps to target fall as 1/B, then level off.",
            "source": "Shallue et al. (2019), arXiv:1811.03600", "outcome": "SUPPORTED",
            "effect": estimate(0.011, 0.3, unit="1/examples").to_json(), "reason": "The inverse is above 1/1024.",
        },
        {
            "id": "goyal2017-linear", "statement": "The best learning rate is proportional to the batch size.",
            "source": "Goyal et al. (2017), arXiv:1706.02677", "outcome": "INCONCLUSIVE", "effect": None,
            "reason": "Fewer than five batch sizes have a best rate inside the grid.",
        },
    )  # fmt: skip


def full() -> Finding:
    """Return a sweep that went well, with an edge, diverged cells and a batch size that missed the target."""
    return Finding(
        task=facts(), device="cpu: 2 threads of x86_64", versions={"critbatch": "0.1.0", "torch": "2.13.0"},
        plan={
            "batch_sizes": list(SIZES), "learning_rates": {str(b): rates(b) for b in SIZES}, "seeds": [0, 1, 2, 3, 4],
            "optimizer": {"kind": "Sgd", "momentum": 0.9}, "sampling": {"kind": "Shuffled"}, "reference_batch_size": 64,
            "command": "critbatch run digits --seeds 5",
        },
        seconds=143.2, endings={"TARGET": 150, "BUDGET": 42, "DIVERGED": 48, "INFEASIBLE": 0, "FAILED": 0},
        batch_sizes=tuple(map(batch_size_row, SIZES)), budgets=readings(),
        flips=(
            "After 400 updates batch size 64 wins; after 1 epoch batch size 4 wins: the answer depends on the budget.",
            "After 1 second batch size 256 wins.",
        ),
        solutions=solutions(), ramps=ramps(),
        fit=fit(), noise_scale=noise(), learning_rate_rule=rule(), recommendation=recommendation(),
        recommendation_reason=None, claims=claims(),
        cells=tuple(cell(b, rate) for b in SIZES for rate in rates(b)),
        curves=tuple(point for b in SIZES for point in curve(b)),
        warnings=("Batch size 1024 never reached the target.",),
        target_winners={
            "steps": Winner(256, 64, estimate(0.56, unit="ratio"), (), "batch size 256 is better than every other"),
            "seconds": Winner(
                64, 256, estimate(0.9, unit="ratio"), (256,), "batch size 64 leads; tied with 256", (64, 256), rivals()
            ),
        },
        critical_batch_sizes=(
            CriticalBatchSize("E_min/S_min", estimate(CRITICAL, unit="examples"), "itself"),
            CriticalBatchSize("gradient noise scale, last look", missing("not resolved", low=80.0), "a proxy"),
        ),
        regimes=(
            Regime("perfect scaling", None, estimate(CRITICAL / 10, unit="examples"), "halves the steps"),
            Regime("diminishing returns", estimate(CRITICAL / 10, unit="examples"), None, "saves less"),
        ),
        targets=(
            TargetFit(0.9, estimate(40.0), estimate(4000.0), estimate(100.0), None),
            TargetFit(0.97, missing("x"), missing("x"), missing("too hard"), "too hard"),
        ),
        tuning=(TuningCurve(16, 8, 6, (400.0, 350.0, 340.0)), TuningCurve(64, 8, 7, (200.0, 160.0, 150.0))),
        pareto=tuple(
            ParetoPoint(size, devices, estimate(10 / devices + size / 100), estimate(10 + devices * size / 100), size < 300)
            for size in (16, 64, 1024) for devices in (1, 4)
        ),
        next_runs=("--seeds 9 instead of 5, to tell batch size 64 from 256 or call them equivalent",),
    )  # fmt: skip


def rivals() -> tuple[Comparison, ...]:
    """Return the tests of a winner against two rivals."""
    return tuple(
        Comparison(
            size, estimate(1.5, unit="ratio"), estimate(1.4, unit="ratio"), p, 3 * p, 0.0625, 0.2, 1.1, 1.3, words
        )
        for size, p, words in ((16, 0.001, "better"), (256, 0.2, "not resolved"))
    )


def poor() -> Finding:
    """Return a sweep that cannot carry an answer: two batch sizes, a failed run, no curve, no noise, no claims."""
    reason = "Only 2 batch sizes reached the target; the curve needs 3."
    lost = missing(reason, unit="examples")
    alone = Estimate(0.9, None, None, 0.95, 1, "", "single run", "Mean over seeds")
    rows = tuple(
        BatchSizeFinding(
            size, missing("One learning rate cannot show which is best."), 0.1, "none",
            missing("1 seed: no interval.", unit="steps", low=100.0), missing(reason), missing(reason), missing(reason),
            alone, missing("Not recorded."), missing("Not recorded."), 0, 1, 1,
        )
        for size in (32, 64)
    )  # fmt: skip
    at = tuple(ReadingRow(size, 0.1, alone, alone) for size in (32, 64))
    winner = Winner(None, None, missing("1 seed: no comparison."), (), "Nothing can be compared with 1 seed.")
    return Finding(
        task=facts("tiny"), device="cpu", versions={"critbatch": "0.1.0"}, plan={"batch_sizes": [32, 64]}, seconds=0.4,
        endings={"FAILED": 1, "BUDGET": 2}, batch_sizes=rows,
        budgets={"epochs": (Reading("epochs", 1.0, "epochs", at, winner),)},
        flips=(),
        fit=Fit("hyperbola", lost, lost, missing(reason, unit="examples", low=64.0), lost, False, reason, None, ()),
        noise_scale=(), learning_rate_rule=LearningRateRule(missing(reason), None, ("constant", "linear"), reason, ()),
        recommendation=None, recommendation_reason="No batch size has steps to target. Measure 3 or more seeds next.",
        claims=(), cells=(), curves=(), warnings=("Only 1 seed: nothing has an interval.",),
    )  # fmt: skip


def hostile() -> Finding:
    """Return a sweep whose every text tries to run a script or to break the page's layout, and that knows no number."""
    text = HOSTILE + "x" * 400
    none = Estimate.missing(text, unit=text, definition=text, method=text)
    task = TaskFacts(text, text, 0, 0, None, 0, text, "above", text, None, None, None, text)
    row = BatchSizeFinding(8, none, None, "none", none, none, none, none, none, none, none, 0, 0, 0)
    odd = Estimate(0.5, None, None, 0.95, 1, text, text, text)
    return Finding(
        task=task, device=text, versions={text: text}, plan={text: {"kind": text, text: [text]}}, seconds=0.0,
        endings={text: 1, "FAILED": 1}, batch_sizes=(row, BatchSizeFinding(
            9, odd, None, "high", odd, odd, odd, odd, odd, odd, odd, 0, 0, 0)),
        budgets={text: (
            Reading(text, None, text, (ReadingRow(8, None, none, none), ReadingRow(9, None, odd, odd)),
                    Winner(None, None, none, (), text)),
        )},
        flips=(text,), fit=Fit(text, none, none, none, none, False, text, None, ()),
        noise_scale=(NoisePoint(8, 1, 0.1, none, 0.0, 0.0), NoisePoint(9, 1, 0.1, odd, 0.0, 0.0)),
        learning_rate_rule=LearningRateRule(none, text, (text,), text, (RatePoint(8, none), RatePoint(9, odd))),
        recommendation=Recommendation(none, none, (text,), (Alternative(8, none, none, none, text),), (text,)),
        recommendation_reason=text,
        claims=({"id": text, "statement": text, "source": text, "outcome": text, "effect": None, "reason": text},),
        cells=(Cell(8, 0.1, 1, 0, 0, 0, 0, none, none, False, True), Cell(9, 0.2, 1, 0, 0, 0, 1, odd, odd, True, True)),
        curves=(CurvePoint(8, 0.1, 1, 0.1, 8.0, 0.1, 0.5, 0.5, None, None),), warnings=(text,),
        ramps=Ramps(8, 0.1, text, (SteeredArm(text, False, True, 8, 0.1, 1, 1, none, odd, odd, 0.5),), 1e-4, 1e-6),
        solutions=(SolutionPoint(8, 0.1, text, "width", True, none), SolutionPoint(9, 0.1, text, "noise", False, odd)),
    )  # fmt: skip
