"""Texts of the command line to values, with errors that say what to write instead."""

from typing import TypeVar

import torch

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
from .optimizers.proximal import Proximal
from .sampling import LastBatch, Sampling
from .samplings.repeated import Repeated
from .schedule import Schedule
from .task import Target, Task

Number = TypeVar("Number", int, float)
MOST_NUMBERS = 1000
EMSO = ("emso", "proximal")  # its authors' name, and ours


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
    name: str, *, momentum: float | None, nesterov: bool, weight_decay: float | None, clip_norm: float | None,
    inner_steps: int | None = None, strength: float | None = None,
) -> Optimizer:  # fmt: skip
    """Return the optimizer called `name`, whose reference can be built; what is None is left at its default.

    Raises:
        ValueError: If there is none, it has not what is given to it, or it needs a package that is not installed.
    """
    kind = catalog.load("optimizers", "proximal" if name in EMSO else name)
    _refuse(name, "--momentum", momentum, ("sgd", "lars"))
    _refuse(name, "--nesterov", nesterov or None, ("sgd",))
    _refuse(name, "--weight-decay", weight_decay, ("sgd", "adam", "adamw", "lars", "lamb"))
    _refuse(name, "--inner-steps", inner_steps, EMSO)
    _refuse(name, "--strength", strength, EMSO)
    given = {
        "momentum": momentum, "nesterov": nesterov or None, "weight_decay": weight_decay, "clip_norm": clip_norm,
        "inner_steps": inner_steps, "strength": strength,
    }  # fmt: skip
    found = kind(**{key: value for key, value in given.items() if value is not None})
    try:
        found.build([torch.nn.Parameter(torch.zeros(1))], found.first_learning_rate)
    except ImportError as error:
        raise ValueError(str(error)) from error
    return found


def _refuse(name: str, option: str, value: float | None, takers: tuple[str, ...]) -> None:
    if value is not None and name not in takers:
        raise ValueError(f"`{option}`: optimizer {name!r} has none. Use --optimizer {' or '.join(takers)}.")


def one_step_a_batch(found: Optimizer) -> Optimizer:
    """Return the optimizer if it takes one step on each batch, as everything but a sweep does.

    Raises:
        ValueError: If it takes several.
    """
    if found.cycle > 1:
        raise ValueError(f"`{found}`: takes {found.cycle} steps on a batch, as only `critbatch run` can. Use another.")
    return found


def sampling(name: str | None, last_batch: str, *, rule: Optimizer) -> Sampling:
    """Return the sampling called `name`, with its last-batch policy where it has one; None: what the optimizer needs.

    Raises:
        ValueError: If there is none of that name, the policy is unknown, or the optimizer needs another.
    """
    policies = {policy.name.lower(): policy for policy in LastBatch}
    if last_batch not in policies:
        raise ValueError(f"`--last-batch {last_batch}`: use one of {', '.join(policies)}.")
    if isinstance(rule, Proximal):
        if name not in (None, "repeated"):
            raise ValueError(
                f"`--sampling {name}`: emso takes {rule.inner_steps} steps on every batch, which has to come "
                f"{rule.inner_steps} times in a row. Leave --sampling out."
            )
        return Repeated(rule.inner_steps, policies[last_batch])
    kind = catalog.load("samplings", name or "reshuffle")
    return kind(last_batch=policies[last_batch]) if name in (None, "reshuffle", "partition") else kind()


def schedule(name: str) -> Schedule:
    """Return the schedule called `name` with its defaults."""
    return catalog.load("schedules", name)()


def executor(name: str, workers: int) -> Executor:
    """Return the executor called `name`; `workers` counts for processes."""
    kind = catalog.load("executors", name)
    return kind(workers=workers) if name == "processes" else kind()
