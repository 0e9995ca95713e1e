"""Which tier trains a cohort: decided by measuring, checked against the plain loop, remembered on disk."""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import itertools
import math
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, final, runtime_checkable

import torch

from ..cache import recall, remember
from ..data import Examples
from ..noise import has_batch_norm
from ..plan import Run, describe
from ..task import ADDRESS, Task
from .check import check_look, check_steps, check_sums
from .looks import splits_on
from .native.build import processor
from .native.replicas import CompiledReplicas
from .native.steps import CompiledLook, CompiledStep, CompiledSums, Workbench
from .native.values import Passing, Unsupported
from .replicas import Replicas
from .sequential import batches, take_step
from .stacked import StackedReplicas
from .step import Step, signature, step_of
from .together import block, pieces

Tier = Literal["plain", "compiled", "stacked"]

WARM_UP, TIMED, PATIENCE = 3, 20, 0.25  # steps before and while timing, and seconds after which timing stops
MOST_TIMED, REPEATS = 256, 3  # steps of a timed block of a fast tier, and how often it is timed
MOST_KEPT = 64  # choices of a process
CHECKED = 4  # examples whose sums of gradients are checked
STACKED = 16  # replicas with which the stacked tier is timed
COMPILE_SECONDS = 4.0  # what tracing, compiling and checking a small model take with nothing cached
CACHED_SECONDS = 0.5
SAVED_SHARE = 0.5  # of the plain loop's time: what is expected to be saved, before anything was compiled and measured
MOST_COMPILE_SECONDS = 120.0
TOO_SHORT = "compiling it would take longer than that saves"


@runtime_checkable
class Prepared(Protocol):
    """What a tier needs to start cohorts of one kind."""

    def replicas(self, task: Task, cohort: Sequence[Run]) -> Replicas:
        """Return the replicas of a cohort at their initialisation.

        Raises:
            Unsupported: If that cannot be done after all.
        """
        ...


@final
@dataclass(frozen=True, eq=False)
class PreparedStack:
    """Steps of all replicas at once, for a GPU; and on the CPU for models whose step has no C form."""

    step: Step
    device: torch.device

    def replicas(self, task: Task, cohort: Sequence[Run]) -> Replicas:
        """Return the replicas of a cohort at their initialisation.

        Raises:
            Unsupported: If the model cannot be vectorised.
        """
        dtype = getattr(torch, cohort[0].dtype)
        models = [task.initialise(run.seed).to(self.device, dtype).train() for run in cohort]
        return StackedReplicas(self.step, models, [run.seed for run in cohort], self.device, dtype)


@final
@dataclass(frozen=True, eq=False)
class PreparedPrograms:
    """A compiled step, and what goes with it."""

    step: Step
    programs: dict[int, CompiledStep]
    look: CompiledLook | None = None
    sums: CompiledSums | None = None

    def replicas(self, task: Task, cohort: Sequence[Run]) -> Replicas:
        """Return the replicas of a cohort at their initialisation."""
        dtype = getattr(torch, cohort[0].dtype)
        models = [task.initialise(run.seed).to(dtype).train() for run in cohort]
        seeds = [run.seed for run in cohort]
        return CompiledReplicas(self.step, models, seeds, self.programs, self.look, self.sums)


@final
@dataclass(frozen=True, eq=False)
class Choice:
    """The tier for runs of one batch size, and why.

    Attributes:
        reason: Why a faster tier was not possible, in a plain sentence; empty where there is no faster one.
        plain_seconds: Of one step in the plain loop.
        seconds: Of one step of one run in the chosen tier.
        prepared: What the tier needs, unless it is the plain loop.
    """

    tier: Tier
    reason: str
    plain_seconds: float
    seconds: float
    prepared: Prepared | None = None


_tasks: dict[int, Task] = {}
_chosen: dict[tuple[int, str], tuple[float, Choice]] = {}  # of this process, with the steps that were planned


def forget_others(tasks: Iterable[Task]) -> None:
    """Drop what this process keeps about all other tasks: they, and programs for them, hold their data."""
    known = {id(task) for task in tasks}
    for one in [one for one in _tasks if one not in known]:
        del _tasks[one]
    for key in [key for key in _chosen if key[0] not in known]:
        del _chosen[key]


def choose(task: Task, run: Run, device: torch.device, *, steps: float, is_forced: bool = False) -> Choice:
    """Return how runs like `run` are best trained on `device`.

    The plain loop is timed first. A step is compiled only if `steps` of them save more than the compiler takes. It is
    then checked against the plain loop in float64, timed, and used if it is faster. That a step was checked, or why it
    was refused, is remembered on disk with the versions; times (seconds) for the day, because machines are shared.

    Args:
        task: What is trained.
        run: Its learning rate, seed and target do not matter.
        device: Where.
        steps: Planned for this batch size, over all runs.
        is_forced: Whether to compile whatever it saves.
    """
    alike = dataclasses.replace(run, learning_rate=1.0, seed=0, target=None)
    key = id(task), f"{alike.id} {device} {is_forced}"  # what is kept keeps the task, so that its id is its own
    planned, found = _chosen.get(key, (0.0, None))
    if found is None or (found.reason == TOO_SHORT and steps > 2 * planned):
        found = _choose(task, run, device, steps, is_forced)
        if len(_chosen) >= MOST_KEPT:
            _chosen.clear()
            _tasks.clear()
        _chosen[key] = steps, found
        _tasks[id(task)] = task
    return found


def _choose(task: Task, run: Run, device: torch.device, steps: float, is_forced: bool) -> Choice:
    model = _model_facts(task, run)
    about = {
        **model, "optimizer": describe(run.optimizer), "sampling": describe(run.sampling), "batch_size": run.batch_size,
        "device": str(device), "threads": torch.get_num_threads(),
    }  # fmt: skip
    known = recall(about)
    if known.get("day") != time.strftime("%Y-%j"):  # times are those of a machine that others use too
        known = {key: known[key] for key in ("checked", "uncompiled", "refused") if key in known}
    plain = known.get("plain_seconds") or plain_step_seconds(task, run, device)
    cost = CACHED_SECONDS if known.get("checked") else COMPILE_SECONDS
    if not is_forced and steps * plain * SAVED_SHARE < cost:
        return Choice("plain", TOO_SHORT, plain, plain)
    if known.get("refused"):
        return Choice("plain", known["refused"], plain, plain)
    patience = MOST_COMPILE_SECONDS if is_forced else min(MOST_COMPILE_SECONDS, max(steps * plain, COMPILE_SECONDS))
    tier, prepared, reason, is_lasting = _prepared(task, run, device, model, known, patience)
    kept: dict[str, Any] = {"uncompiled": reason} if reason and is_lasting else {}
    if prepared is None:
        if is_lasting:
            remember(about, {"refused": reason})
        return Choice("plain", reason, plain, plain)
    is_timed = known.get("checked") == tier and "seconds" in known
    seconds = known["seconds"] if is_timed else _step_seconds(
        task, run, device, prepared, 1 if tier == "compiled" else STACKED
    )  # fmt: skip
    day = time.strftime("%Y-%j")
    remember(about, {**kept, "checked": tier, "plain_seconds": plain, "seconds": seconds, "day": day})
    if seconds >= plain and not is_forced:
        return Choice("plain", reason, plain, plain)
    return Choice(tier, reason, plain, seconds, prepared)


def _prepared(
    task: Task, run: Run, device: torch.device, model: Mapping[str, Any], known: Mapping[str, Any], patience: float
) -> tuple[Tier, Prepared | None, str, bool]:
    """Return the first tier that can be prepared and that passes its check; why not a faster one; if that will last."""
    reason, is_lasting = str(known.get("uncompiled", "")), True
    if device.type == "cpu" and not reason:
        is_checked = known.get("checked") == "compiled"
        try:  # ours are the errors below: whatever they are, the plain loop can train the model
            return "compiled", prepare(task, run, model, seconds=patience, is_checked=is_checked), "", True
        except Unsupported as error:
            reason, is_lasting = f"its step cannot be compiled: {error}", not isinstance(error, Passing)
        except (AssertionError, LookupError, NotImplementedError, TypeError, ValueError) as error:
            reason = f"its step cannot be compiled: {type(error).__name__}: {error}"
    try:
        return (
            "stacked",
            prepare_stack(task, run, device, is_checked=known.get("checked") == "stacked"),
            reason,
            is_lasting,
        )
    except (Unsupported, RuntimeError, TypeError) as error:
        return "plain", None, reason or f"its runs cannot be stacked: {str(error).splitlines()[0]}", is_lasting


def _model_facts(task: Task, run: Run) -> dict[str, Any]:
    """Return what a compiled model depends on."""
    try:
        rule = inspect.getsource(type(run.optimizer))
    except (OSError, TypeError):
        rule = ""
    return {
        "task": task.name, "revision": task.revision, "signature": signature(task, getattr(torch, run.dtype)),
        "rule": rule, "layers": ADDRESS.sub("", repr(task.initialise(0))),
        "dtype": run.dtype, "processor": processor(), "engine": _engine(), "torch": torch.__version__,
    }  # fmt: skip


@functools.cache
def _engine() -> str:
    # our own text, losses and update rules among it: steps of a changed one have to be compiled and checked again
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parents[1].rglob("*")):
        if path.suffix in (".py", ".c"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def plain_step_seconds(task: Task, run: Run, device: torch.device) -> float:
    """Return the median seconds of one step in the plain loop, looks not counted."""
    dtype = getattr(torch, run.dtype)
    times: list[float] = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model = task.initialise(run.seed).to(device, dtype).train()
        optimizer = run.optimizer.build(model.parameters(), run.learning_rate)
        began = started = time.perf_counter()
        for at, batch in enumerate(itertools.islice(batches(task, run, device, dtype), WARM_UP + TIMED)):
            take_step(task, run, model, optimizer, batch, 0.0, run.micro_batch_size)
            now = time.perf_counter()
            if at >= WARM_UP or now - began > PATIENCE:
                times.append(now - started)
            if times and now - began > PATIENCE:
                break
            started = now
    return statistics.median(times) if times else math.inf


def prepare(task: Task, run: Run, about: Mapping[str, Any], *, seconds: float, is_checked: bool) -> PreparedPrograms:
    """Return the compiled step for a run, checked against the plain loop unless it was before.

    Args:
        task: What is trained.
        run: Says batch size, optimizer, sampling and dtype.
        about: What the model depends on.
        seconds: How long each call of the compiler may take.
        is_checked: Whether the check can be left out.

    Raises:
        Unsupported: If the model cannot be compiled, or the compiled step is not the plain loop's.
    """
    device, dtype = torch.device("cpu"), getattr(torch, run.dtype)

    def make(exact: Run) -> tuple[Step, Replicas]:
        made = PreparedPrograms(*_compiled(_workbench(task, exact, {**about, "dtype": exact.dtype}, seconds), exact))
        return made.step, made.replicas(task, [exact])

    if not is_checked:
        check_steps(task, run, device, make)
    bench = _workbench(task, run, about, seconds)
    found = PreparedPrograms(*_compiled(bench, run))
    parts = list(splits_on(task, device, dtype).values())
    with contextlib.suppress(Unsupported):  # then the module itself is asked
        with_look = dataclasses.replace(found, look=bench.look_at(parts[0]))
        if check_look(task, with_look.replicas(task, [run]), parts, task.initialise(run.seed).to(dtype)):
            found = with_look
    if run.measurements and not has_batch_norm(bench.step.model):
        with contextlib.suppress(Unsupported):
            found = _with_sums(task, run, bench, found)
    return found


def _with_sums(task: Task, run: Run, bench: Workbench, found: PreparedPrograms) -> PreparedPrograms:
    about = {**bench.about, "program": "sums, checked"}
    with_sums = dataclasses.replace(found, sums=bench.sums())
    if not recall(about):
        few = Examples(bench.data.inputs[:CHECKED], bench.data.targets[:CHECKED])
        model = task.initialise(run.seed).to(getattr(torch, run.dtype))
        if not check_sums(task, with_sums.replicas(task, [run]), few, model):
            return found
        remember(about, {"checked": True})
    return with_sums


def prepare_stack(task: Task, run: Run, device: torch.device, *, is_checked: bool) -> PreparedStack:
    """Return the stacked step for a run, checked against the plain loop unless it was before.

    Raises:
        Unsupported: If the model cannot be vectorised, or its stacked steps are not the plain loop's.
    """

    def make(exact: Run) -> tuple[Step, Replicas]:
        made = PreparedStack(step_of(task, exact.optimizer, getattr(torch, exact.dtype)), device)
        return made.step, made.replicas(task, [exact])

    if not is_checked:
        check_steps(task, run, device, make)
    found = PreparedStack(step_of(task, run.optimizer, getattr(torch, run.dtype)), device)
    found.replicas(task, [run])
    return found


def _workbench(task: Task, run: Run, about: Mapping[str, Any], seconds: float) -> Workbench:
    dtype = getattr(torch, run.dtype)
    data = task.train.epoch(run.seed, 0).to(torch.device("cpu"), dtype)
    return Workbench(step_of(task, run.optimizer, dtype), data, about, seconds)


def _compiled(bench: Workbench, run: Run) -> tuple[Step, dict[int, CompiledStep]]:
    draws = {"order": torch.Generator(), "base": torch.Generator()}
    sizes = {
        len(indices)
        for number in run.sampling.changes
        for indices in run.sampling.epoch(len(bench.data), run.batch_size, number=number, **draws)
    }
    return bench.step, {size: bench.step_of(size) for size in sorted(sizes)}


def _step_seconds(task: Task, run: Run, device: torch.device, prepared: Prepared, count: int) -> float:
    """Return the median seconds of one step of one of `count` replicas, in blocks as long as training has them."""
    still = [dataclasses.replace(run, learning_rate=run.optimizer.first_learning_rate)] * count
    replicas = prepared.replicas(task, still)
    source = pieces(task, run, run.seed, device)

    def advance(steps: int) -> float:
        some = list(itertools.islice(source, steps))
        if not some:
            return math.inf
        size = max(len(index) for _, index in some)
        taken = [(some[0][0], index) for _, index in some if len(index) == size]
        asked = block(still, {run.seed: taken}, [0.0] * len(taken), 0, size)
        started = time.perf_counter()
        replicas.advance(range(count), asked)
        return (time.perf_counter() - started) / len(taken)

    advance(WARM_UP)
    steps = max(1, min(MOST_TIMED, int(PATIENCE / REPEATS / max(advance(1), 1e-6))))
    return statistics.median(advance(steps) for _ in range(REPEATS)) / count
