"""Texts of the command line to values, with errors that say what to write instead."""

from typing import TypeVar

from . import catalog
from .budget import Budget
from .budgets.epochs import Epochs
from .budgets.examples import Examples
from .budgets.longest import Longest
from .budgets.seconds import Seconds
from .budgets.steps import Steps
from .engine.population import ENGINES, Engine
from .executor import Executor
from .job import default_budget
from .optimizer import Optimizer
from .sampling import LastBatch, Sampling
from .schedule import Schedule
from .task import Target, Task

Number = TypeVar("Number", int, float)
MOST_NUMBERS = 1000


def numbers(text: str, kind: type[Number], option: str) -> tuple[Number, ...]:
    """Return the numbers of "1,4,16" or of the range "1:1024:x4" (from, to, factor), ascending.

    Raises:
        ValueError: If the text is neither, or a number is not above 0.
    """
    found: list[Number] = []
    try:
        for part in filter(None, text.replace(" ", "").split(",")):
            found += _range(part, kind) if ":" in part else [kind(part)]
    except ValueError as error:
        raise ValueError(
            f"`{option} {text}`: {error}. Write numbers as 1,4,16 or a range as 1:1024:x4 (from, to, factor)."
        ) from error
    if not all(0 < one < float("inf") for one in found):
        raise ValueError(f"`{option} {text}`: every number must be above 0 and finite.")
    return tuple(sorted(set(found)))


def _range(text: str, kind: type[Number]) -> list[Number]:
    low, high, factor = text.split(":")
    start, stop, times = kind(low), kind(high), float(factor.removeprefix("x"))
    if not (times > 1 and 0 < start <= stop < float("inf")):
        raise ValueError(f"{text} does not rise: from must be above 0, to at least from, and the factor above 1")
    found = []
    value = float(start)
    while value <= stop * (1 + 1e-9) and len(found) < MOST_NUMBERS:
        found.append(kind(round(value) if kind is int else value))
        value *= times
    return found


def budget(epochs: float | None, steps: float | None, examples: float | None, seconds: float | None) -> Budget:
    """Return the longest of the budgets given, or the default when none is."""
    given: list[Budget] = []
    for kind, amount in ((Epochs, epochs), (Steps, steps), (Examples, examples), (Seconds, seconds)):
        if amount is not None:
            given.append(kind(amount))
    if not given:
        return default_budget()
    return given[0] if len(given) == 1 else Longest(tuple(given))


def target(text: str, task: Task) -> Target | None:
    """Return the target of "0.95", "test_accuracy=0.95", "test_loss<0.1" or "test_accuracy>0.95"; None if empty.

    Raises:
        ValueError: If there is no number, or the task records no such quantity.
    """
    if not text:
        return None
    sign = next((one for one in "<>=" if one in text), "")
    quantity, value = (part.strip() for part in text.split(sign)) if sign else ("", text)
    if not quantity:
        quantity = task.target.quantity if task.target else f"{task.selection_split}_{task.metric.name}"
    task.better(quantity)
    try:
        number = float(value)
    except ValueError as error:
        raise ValueError(f"`--target {text}`: {value!r} is no number. Write test_accuracy=0.95 or 0.95.") from error
    return Target(quantity, number, {"<": "below", ">": "above"}.get(sign, "declared"))  # pyrefly: ignore


def log_target(text: str) -> tuple[float | None, str]:
    """Return target and direction of ">0.9" or "<0.5"; no target if empty.

    Raises:
        ValueError: If there is no sign, or no number.
    """
    if not text:
        return None, "above"
    direction = {">": "above", "<": "below"}.get(text.strip()[0])
    try:
        number = float(text.strip().lstrip("<>="))
    except ValueError:
        number = None
    if direction is None or number is None:
        raise ValueError(
            f"`--target {text}`: write '>0.9' or '<0.5': the side on which runs have arrived, and a number."
        )
    return number, direction


def log_columns(pairs: list[str]) -> dict[str, str]:
    """Return {"batch_size": "bs"} of ["batch_size=bs"].

    Raises:
        ValueError: If one has no "=".
    """
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise ValueError(f"`--column {wrong[0]}`: write ROLE=NAME, for example batch_size=bs.")
    return {role.strip(): name.strip() for role, _, name in (pair.partition("=") for pair in pairs)}


def engine(name: str) -> Engine:
    """Return the engine called `name`.

    Raises:
        ValueError: If there is none.
    """
    if name not in ENGINES:
        raise ValueError(f"`--engine {name}`: unknown. Use one of {', '.join(ENGINES)}.")
    return name


def optimizer(
    name: str, *, momentum: float, nesterov: bool, weight_decay: float | None, clip_norm: float | None
) -> Optimizer:  # fmt: skip
    """Return the optimizer called `name`.

    Raises:
        ValueError: If there is none, or momentum is given to one that has none.
    """
    kind = catalog.load("optimizers", name)
    more = {"clip_norm": clip_norm} | ({} if weight_decay is None else {"weight_decay": weight_decay})
    if name == "sgd":
        return kind(momentum=momentum, nesterov=nesterov, **more)
    if momentum or nesterov:
        raise ValueError(f"`--momentum`, `--nesterov`: optimizer {name!r} has none. Use --optimizer sgd.")
    return kind(**more)


def sampling(name: str, last_batch: str) -> Sampling:
    """Return the sampling called `name`, with its last-batch policy where it has one.

    Raises:
        ValueError: If there is none of that name, or the policy is unknown.
    """
    policies = {policy.name.lower(): policy for policy in LastBatch}
    if last_batch not in policies:
        raise ValueError(f"`--last-batch {last_batch}`: use one of {', '.join(policies)}.")
    kind = catalog.load("samplings", name)
    return kind(last_batch=policies[last_batch]) if name in ("reshuffle", "partition") else kind()


def schedule(name: str) -> Schedule:
    """Return the schedule called `name` with its defaults."""
    return catalog.load("schedules", name)()


def executor(name: str, workers: int) -> Executor:
    """Return the executor called `name`; `workers` counts for processes."""
    kind = catalog.load("executors", name)
    return kind(workers=workers) if name == "processes" else kind()
