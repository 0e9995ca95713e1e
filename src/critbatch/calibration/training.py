"""Training itself against exact recursions: engines, optimizers, and the whole way from runs to a critical batch size."""

from collections.abc import Iterator

import numpy as np
import torch

from ..analysis.choice import Choice, choose
from ..analysis.grid import Grid, Track
from ..analysis.heights import heights
from ..budgets.steps import Steps
from ..curves.hyperbola import Hyperbola
from ..engine.population import Engine, train
from ..finding import TaskFacts
from ..measurement import look_steps
from ..objective import squared_error
from ..optimizers.adam import Adam
from ..optimizers.sgd import SGD
from ..plan import RunResult, sweep
from ..record import Ending
from ..samplings.reshuffle import Reshuffle
from ..samplings.with_replacement import WithReplacement
from ..schedules.constant import Constant
from ..task import Metric, Task
from ..worlds.regression import GaussianRegression
from .check import Check, at_least, exactly, holds, unbiased
from .instrument import Instrument

KIND = "training"
FEW = 100  # runs, below which one optimizer has to do
CLOSE = 1e-9  # of two engines in float64
EXAMPLES, START = 4096, 2.0
REGRESSION = GaussianRegression()
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
QUANTITY = "validation_loss"


def checks(instrument: Instrument, runs: int, engine: Engine = "population") -> Iterator[Check]:
    """Yield the checks of training; `runs` for each recursion."""
    yield _noisy_quadratic(runs, engine)
    if runs > FEW:
        yield _heavy_ball(runs, engine)
    yield from _engines(
        (SGD(momentum=0.9, nesterov=True, weight_decay=1e-3), 0.05), *([(Adam(), 0.01)] if runs > FEW else [])
    )
    yield from _end_to_end(instrument, seeds=10 if runs > FEW else 6)


def _quadratic() -> Task:
    """Return the task of finding the mean of numbers: loss 1/2 (theta - x)^2, curvature 1, noise of variance var(x)."""
    numbers = torch.from_numpy(np.random.default_rng(51).normal(0.0, 1.0, (EXAMPLES, 1)))
    numbers = (numbers - numbers.mean()) / numbers.std(correction=0)
    one = torch.ones(1, 1, dtype=torch.float64)
    metric = Metric("squared_error", squared_error, "below")
    return Task(
        name="mean", model=_point, train=(torch.ones_like(numbers), numbers), test=(one, 0 * one), loss="squared_error",
        metric=metric,
    )  # fmt: skip


def _point() -> torch.nn.Module:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, START)
    return layer


def _trained(
    task: Task, optimizer: SGD | Adam, engine: Engine, *, size: int, rate: float, seeds: int, steps: int
) -> list[RunResult]:
    is_quadratic = task.name == "mean"
    plan = sweep(
        task, batch_sizes=[size], learning_rates=[rate], seeds=range(seeds), optimizer=optimizer, schedule=Constant(),
        sampling=WithReplacement() if is_quadratic else Reshuffle(), budget=Steps(steps), dtype="float64",
    )  # fmt: skip
    return train({task.name: task}, plan.runs, engine=engine)


def _last(result: RunResult, quantity: str) -> float:
    seen = result.records.filter(result.records["quantity"] == quantity)
    return float(seen.sort("step")["value"][-1])


def _noisy_quadratic(runs: int, engine: Engine) -> Check:
    """Return the check of T5: the mean squared distance after t steps of SGD."""
    size, rate, steps = 4, 0.3, 40
    fade = (1 - rate) ** (2 * steps)
    truth = fade * START**2 + (1 - fade) * rate / (size * (2 - rate))
    found = np.array(
        [
            2 * _last(one, "test_loss")
            for one in _trained(_quadratic(), SGD(), engine, size=size, rate=rate, seeds=runs, steps=steps)
        ]
    )
    detail = "SGD, B = 4, rate 0.3, 40 steps: ((1 - eta h)^2t th0^2 + (1 - (1 - eta h)^2t) eta c/(B h (2 - eta h)))"
    return unbiased(KIND, "noisy quadratic, T5", truth, found, detail=detail)


def _heavy_ball(runs: int, engine: Engine) -> Check:
    """Return the check of T6: the stationary variance under momentum."""
    size, rate, beta = 4, 0.2, 0.5
    truth = rate * (1 + beta) / (size * (1 - beta) * (2 * (1 + beta) - rate))
    results = _trained(_quadratic(), SGD(momentum=beta), engine, size=size, rate=rate, seeds=runs, steps=100)
    found = np.array([2 * _last(one, "test_loss") for one in results])
    detail = "momentum 0.5, rate 0.2, B = 4: eta c (1 + b)/(B h (1 - b)(2 (1 + b) - eta h))"
    return unbiased(KIND, "heavy ball, T6", truth, found, detail=detail)


def _engines(*cases: tuple[SGD | Adam, float]) -> Iterator[Check]:
    """Yield the checks that runs trained together equal the plain loop's."""
    draw = torch.Generator().manual_seed(52)
    inputs, targets = torch.randn(128, 8, generator=draw), torch.randint(3, (128,), generator=draw)
    task = Task(name="engines", model=_perceptron, train=(inputs, targets), test=(inputs[:32], targets[:32]))
    for optimizer, rate in cases:
        plain, together = (
            _trained(task, optimizer, engine, size=16, rate=rate, seeds=3, steps=60)
            for engine in ("sequential", "population")
        )
        worst = max(
            float(np.abs(one.records["value"].to_numpy() / other.records["value"].to_numpy() - 1).max())
            for one, other in zip(plain, together, strict=True)
        )
        name = f"engine equals the plain loop, {type(optimizer).__name__}"
        yield exactly(
            KIND, name, 0.0, worst, tolerance=CLOSE, detail=f"largest relative difference of records; {CLOSE:g}"
        )


def _perceptron() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3))


def _end_to_end(instrument: Instrument, *, seeds: int) -> Iterator[Check]:
    """Yield the checks of T4b: SGD on Gaussian regression, its curves read, fitted and compared with the exact ones."""
    choices = _regression_choices(SIZES, seeds, powers=range(-3, 4))
    fine = {size: _oracle(size) for size in SIZES}
    found = heights(choices)
    apart = np.abs(found.logs[0] - np.log([fine[size] for size in SIZES]))
    yield exactly(
        KIND, "steps to target, T4b: mean error", 0.0, float(apart.mean()), tolerance=0.05,
        detail=f"{len(SIZES)} batch sizes, {seeds} seeds; 5 %; the worst is {100 * apart.max():.1f} %",
    )  # fmt: skip
    fit = instrument.fit(choices)
    exact = Hyperbola().fit(np.array(SIZES, dtype=float), np.array([fine[size] for size in SIZES]))
    truth = float(exact[1] / exact[0])
    one = fit.critical_batch_size
    inside = one.value is not None and holds(one.low, one.high, truth)
    yield Check(
        KIND, "critical batch size, T4b", truth, one.value or float("nan"), one.low or 0.0, one.high or float("inf"),
        inside, seeds, "the exact curve's inside of the interval",
    )  # fmt: skip
    cut = _regression_choices((8, 16, 32, 64), seeds, powers=range(-4, -1))
    flagged = np.array([choice.edge == "high" for choice in cut.values()])
    yield at_least(KIND, "edge flagged when the grid is cut, T4b", 1.0, flagged, detail="rates only far below the best")
    few = {size: choice for size, choice in choices.items() if size < truth / 3}
    silent = np.array([len(few) >= 4 and instrument.fit(few).critical_batch_size.value is None])
    yield at_least(
        KIND, "no number from B < B_crit/3, T4b", 1.0, silent, detail=f"batch sizes {', '.join(map(str, few))}"
    )


def _steps(size: int) -> int:
    return int(60 + 900 / size**0.9)


def _oracle(size: int) -> float:
    """Return the exact steps to target at the best learning rate."""
    rates = _best_rate(size) * 2.0 ** np.linspace(-2.5, 2.5, 101)
    return float(REGRESSION.steps_to_target(size, rates, 4 * _steps(size)).min())


def _best_rate(size: int) -> float:
    """Return about the best learning rate: twice that of a batch of one until curvature limits it."""
    rates = np.geomspace(1e-3, 1.9, 60)
    return float(rates[np.argmin(REGRESSION.steps_to_target(size, rates, 4 * _steps(size)))])


def _regression_choices(sizes: tuple[int, ...], seeds: int, *, powers: range) -> dict[int, Choice]:
    """Return the choices of real SGD runs at each batch size, read at the looks of a sweep."""
    tracks: dict[int, dict[float, dict[int, Track]]] = {}
    longer = 4 if max(powers) < 0 else 2
    goal = REGRESSION.target * float(REGRESSION.expected_losses(1, np.array([0.0]), 0)[0, 0])
    for size in sizes:
        last = longer * _steps(size)
        looks = np.array([step for step in look_steps() if step <= last])
        rates = _best_rate(size) * 1.4 ** np.array(powers)
        losses = REGRESSION.simulate(size, rates, seeds, looks, np.random.default_rng([53, size]))
        tracks[size] = {
            float(rate): {seed: _track(looks, size, losses[row, seed]) for seed in range(seeds)}
            for row, rate in enumerate(rates)
        }
    facts = TaskFacts(
        name="regression", revision="", train_size=None, test_size=None, validation_size=None, parameters=None,
        metric="loss", better="below", selection_split="validation", target_quantity=QUANTITY, target_value=goal,
        target_direction="below", target_origin="given",
    )  # fmt: skip
    grid = Grid(facts, tuple(range(seeds)), tracks)
    return {size: choose(grid, size) for size in grid.batch_sizes()}


def _track(looks: np.ndarray, size: int, losses: np.ndarray) -> Track:
    alive = np.isfinite(losses).all() and losses[-1] < 1e6
    steps = looks.astype(float)
    return Track(Ending.BUDGET if alive else Ending.DIVERGED, steps, steps * size, steps, {QUANTITY: losses})
