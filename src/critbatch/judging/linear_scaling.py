"""Large batches with a learning rate scaled from a small one, a warm-up and drops: what to run, and what is lost.

The protocol of Goyal et al. (2017), arXiv:1706.02677, Section 5.1, made small: Nesterov momentum 0.9, weight decay 1e-4,
drops to a tenth at 1/3, 2/3 and 8/9 of the epochs, and a warm-up over the first 5.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..budgets.epochs import Epochs
from ..claim import Exhibit, Figure, Imagined, Part, Scale, World
from ..finding import TaskFacts
from ..optimizers.sgd import SGD
from ..plan import Plan, Run
from ..schedules.milestones import Milestones
from ..statistics.resampling import leave_one_out
from .figures import line
from .parts import accuracy_margin
from .protocol import runs, seeds
from .reading import arm_grid, at_end, table
from .scaled import MIDDLE, all_equal, base_rate, ends, tuning, turned

BASE, GHOSTS = 16, 32  # batch sizes at which rates are tuned, without and with ghost batch normalisation
EPOCHS = {"full": Epochs(30), "smoke": Epochs(2)}
OPTIMIZER = SGD(momentum=0.9, nesterov=True, weight_decay=1e-4)
WARMUP = 1 / 6  # of the epochs: 5 of 30
FACTORS = {"full": (1, 2, 4, 8, 16, 32, 64), "smoke": (1, 4, 16)}
FEW = {"full": (1, 8, 32, 64, 128, 256), "smoke": (1, 8)}  # for the elbow at several sizes of the training set
RULES = {"linear": 1.0, "sqrt": 0.5, "fixed": 0.0}  # exponents
DIGITSS = {"small": 2000, "double": 4000, "quadruple": 8000}  # training examples
KEPT = 4  # factor up to which the accuracy has to be kept at least
LEAST_POINTS = 6


def tuned_base(facts: TaskFacts, scale: Scale, base: int = BASE) -> Plan:
    """Return the runs at the small batch size, from which the base rate is chosen; it needs no warm-up."""
    return tuning(facts, scale, base, budget=EPOCHS[scale], optimizer=OPTIMIZER, schedule=Milestones())


def scaled(
    facts: TaskFacts, scale: Scale, rate: float, factors: Sequence[int], *, exponent: float = 1.0, base: int = BASE,
    warmup: str = "gradual",
) -> Plan:  # fmt: skip
    """Return runs at `factors` times the base batch size, warming up from the base rate to the scaled one.

    Args:
        facts: Of the task.
        scale: Of the protocol.
        rate: At the base batch size.
        factors: Those that leave no training set half empty.
        exponent: Of the rule: 1 is linear.
        base: Batch size.
        warmup: gradual, constant or none.
    """
    found = Plan(())
    for factor in factors:
        if factor > 1 and factor * base > (facts.train_size or 0):
            continue
        rise = factor**exponent
        warming = Milestones(warmup=WARMUP, start=1 / rise, gradual=warmup == "gradual")
        found += runs(
            facts, batch_sizes=[factor * base], rates=[rate * rise], seeds=seeds(scale), budget=EPOCHS[scale],
            optimizer=OPTIMIZER, schedule=Milestones() if rise == 1 or warmup == "none" else warming,
        )  # fmt: skip
    return found


def rule_arms(exhibit: Exhibit, rules: Sequence[str]) -> dict[str, Plan]:
    """Return an arm for each rule, the base batch size among its runs; nothing if no base rate trained."""
    rate = base_rate(exhibit, "tuning")
    if rate is None:
        return {}
    ask = functools.partial(scaled, exhibit.facts["main"], exhibit.scale, rate, FACTORS[exhibit.scale])
    return {rule: ask(exponent=RULES[rule]) for rule in rules}


def lost(
    exhibit: Exhibit, arm: str, split: str = "test", *, role: str = "main", base: int = BASE
) -> dict[int, np.ndarray]:
    """Return what each factor above 1 loses of the metric against the base batch size, shape (seed,); higher is worse."""
    facts = exhibit.facts.get(role, exhibit.facts["main"])
    values = ends(exhibit, arm, f"{split}_{facts.metric}", role=role)
    against = values.pop(base, None)
    if against is None:
        return {}
    return {size // base: turned(facts) * (against - row) for size, row in values.items()}


def picture(exhibit: Exhibit, columns: Mapping[str, Mapping[int, np.ndarray]]) -> Figure:
    """Return the metric lost against the batch size, a line for each arm."""
    metric = exhibit.facts["main"].metric
    lines = tuple(line(arm, list(by), np.stack(list(by.values()), 1)) for arm, by in columns.items() if by)
    return Figure("batch size as a multiple of the base", f"test {metric} lost against the base batch size", lines)


def kept(
    exhibit: Exhibit, name: str, losses: Mapping[int, np.ndarray], *, role: str = "main", counts: bool = True
) -> Part:
    """Return the test of "nothing is lost up to a factor of four"."""
    facts = exhibit.facts.get(role, exhibit.facts["main"])
    return all_equal(
        name, [losses[factor] for factor in sorted(losses) if factor <= KEPT], margin=accuracy_margin(facts.test_size),
        unit=f"test {facts.metric}", definition=f"test {facts.metric} at the base batch size less that at the larger one",
        counts=counts,
    )  # fmt: skip


def log_losses(exhibit: Exhibit, arm: str) -> dict[int, np.ndarray]:
    """Return by how much log training loss at the end exceeds that at the base batch size, by factor, shape (seed,)."""
    if arm not in exhibit.arms:
        return {}
    grid = arm_grid(exhibit, arm)
    sizes = grid.batch_sizes()
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(table(grid, sizes, lambda size: grid.table(size, at_end("train_loss"))[0]))
    if BASE not in sizes:
        return {}
    return {size // BASE: logs[:, at] - logs[:, sizes.index(BASE)] for at, size in enumerate(sizes) if size != BASE}


def log_elbows(losses: Mapping[int, np.ndarray], level: float) -> np.ndarray:
    """Return log2 of the factor at which the mean loss passes `level`: of all seeds, then without each; NaN where none.

    Between the factors tried the mean loss is interpolated linearly in log2 factor.

    Args:
        losses: By factor, shape (seed,).
        level: In their unit.
    """
    count = len(next(iter(losses.values())))
    weights = leave_one_out([count], paired=True)[0][0]
    columns = np.stack([np.zeros(count), *(losses[factor] for factor in sorted(losses))], axis=1)
    means = weights @ columns / weights.sum(1, keepdims=True)
    logs = np.log2([1, *sorted(losses)])
    found = np.full(len(means), np.nan)
    for index, row in enumerate(means):
        past = np.flatnonzero(row > level)
        if len(past):
            after = past[0]
            share = (level - row[after - 1]) / (row[after] - row[after - 1])
            found[index] = logs[after - 1] + share * (logs[after] - logs[after - 1])
    return found


def residual_slopes(
    tests: Mapping[str, Mapping[int, np.ndarray]], losses: Mapping[str, Mapping[int, np.ndarray]]
) -> np.ndarray:  # fmt: skip
    """Return each seed's coefficient of log2 factor beside a cubic in the log training loss, shape (seed,); NaN: too few.

    Args:
        tests: Lost metric by rule and factor, shape (seed,).
        losses: Excess of log training loss by rule and factor, shape (seed,).
    """
    cells = [(rule, factor) for rule in tests for factor in tests[rule] if factor in losses.get(rule, {})]
    if not cells:
        return np.array([])
    y = np.stack([tests[rule][factor] for rule, factor in cells], axis=1)
    x = np.stack([losses[rule][factor] for rule, factor in cells], axis=1)
    logs = np.log2([factor for _, factor in cells])
    found = []
    for lost_by, excess in zip(y, x, strict=True):
        usable = np.isfinite(lost_by) & np.isfinite(excess)
        design = np.stack([excess, excess**2, excess**3, logs], axis=1)[usable]
        if len(design) < LEAST_POINTS:
            found.append(np.nan)
            continue
        found.append(float(np.linalg.lstsq(design, lost_by[usable], rcond=None)[0][-1]))
    return np.array(found)


def made_up(
    generator: np.random.Generator, world: World, behind: Callable[[str, float], float],
    *, cost: Callable[[float], float] = lambda factor: 0.0,
) -> Imagined:  # fmt: skip
    """Return what runs would record where batch sizes lag `behind`, in units of log training loss, by arm and factor.

    Testing loses with the training loss, the more so the higher it is, and `cost` besides, by factor.
    """
    noise = 40.0 if world == "silent" else 1.0
    by_seed = generator.normal(size=64)

    def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
        factor = run.batch_size / (GHOSTS if arm.startswith("ghost") else BASE)
        lag = 0.8 * np.log2(run.learning_rate / MIDDLE) ** 2 if "tuning" in arm else behind(arm, factor)
        own, tested = generator.normal(size=2)
        end = -3 + lag + 0.15 * min(noise, 4.0) * (by_seed[run.seed] + own)
        share = looks / looks[-1]
        error = 0.07 + 0.004 * lag + 0.0015 * lag**2 + cost(factor) + 0.0015 * noise * (by_seed[run.seed] + tested)
        accuracy = np.where(looks == 0, 0.1, 1 - error - 0.5 * np.exp(-12 * share))
        return {
            "train_loss": np.exp(end + (0.8 - end) * np.exp(-8 * share)), "validation_accuracy": accuracy,
            "test_accuracy": accuracy,
        }  # fmt: skip

    return values
