"""Which tier trains a cohort: decided by measuring, checked against the plain loop, remembered on disk."""

import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import torch

from ..plan import Run, describe
from ..task import Task
from .cache import recall, remember
from .check import check_look, check_steps
from .looks import splits_on
from .native.build import compiler
from .native.replicas import CompiledReplicas
from .native.steps import CompiledLook, CompiledStep, compile_look, compile_step
from .native.values import Unsupported
from .replicas import Replicas
from .sequential import batches, take_step
from .step import Step, step_of
from .together import block, pieces

Tier = Literal["plain", "compiled", "stacked"]

WARM_UP, TIMED, PATIENCE = 3, 20, 0.25  # steps before and while timing, and seconds after which timing stops
COMPILE_SECONDS = 4.0  # what tracing, compiling and checking a small model take with nothing cached
CACHED_SECONDS = 0.5
SAVED_SHARE = 0.5  # of the plain loop's time: what is expected to be saved, before anything was compiled and measured
MOST_COMPILE_SECONDS = 120.0
TOO_SHORT = "compiling it would take longer than that saves"


@final
@dataclass(frozen=True, eq=False)
class Prepared:
    """A compiled step, and what it takes to start a cohort with it."""

    step: Step
    programs: dict[int, CompiledStep]
    look: CompiledLook | None

    def replicas(self, task: Task, cohort: Sequence[Run]) -> Replicas:
        """Return the replicas of a cohort at their initialisation."""
        dtype = getattr(torch, cohort[0].dtype)
        models = [task.initialise(run.seed).to(dtype).train() for run in cohort]
        return CompiledReplicas(self.step, models, [run.seed for run in cohort], self.programs, self.look)


@final
@dataclass(frozen=True, eq=False)
class Choice:
    """The tier for runs of one batch size, and why.

    Attributes:
        reason: Why not a faster tier, in a plain sentence; empty where the plain loop is the fastest.
        plain_seconds: Of one step in the plain loop.
        seconds: Of one step of one run in the chosen tier.
        prepared: What the tier needs, unless it is the plain loop.
    """

    tier: Tier
    reason: str
    plain_seconds: float
    seconds: float
    prepared: Prepared | None = None


_chosen: dict[str, Choice] = {}  # of this process: a worker trains many cohorts of one kind


def choose(task: Task, run: Run, device: torch.device, *, steps: float, is_forced: bool = False) -> Choice:
    """Return how runs like `run` are best trained on `device`.

    The plain loop is timed first. A step is compiled only if `steps` of them save more than the compiler takes. It is
    then checked against the plain loop in float64, timed, and used if it is faster. That a step was checked, or why it
    was refused, is remembered on disk with the versions; times are not, because machines are shared.

    Args:
        task: What is trained.
        run: Its learning rate, seed, target and measurements do not matter.
        device: Where.
        steps: Planned for this batch size, over all runs.
        is_forced: Whether to compile whatever it saves.
    """
    alike = dataclasses.replace(run, learning_rate=1.0, seed=0, target=None, measurements=())
    key = f"{alike.id} {device} {is_forced}"
    found = _chosen.get(key)
    if found is None or found.reason == TOO_SHORT:
        found = _chosen[key] = _choose(task, run, device, steps, is_forced)
    return found


def _choose(task: Task, run: Run, device: torch.device, steps: float, is_forced: bool) -> Choice:
    plain = plain_step_seconds(task, run, device)
    if device.type != "cpu":
        return Choice("plain", "there is no compiled engine for this device yet", plain, plain)
    facts = {
        "revision": task.revision, "optimizer": describe(run.optimizer), "sampling": describe(run.sampling),
        "batch size": run.batch_size, "dtype": run.dtype, "task": task.name,
    }  # fmt: skip
    known = recall(facts)
    cost = CACHED_SECONDS if known.get("checked") else COMPILE_SECONDS
    if not is_forced and steps * plain * SAVED_SHARE < cost:
        return Choice("plain", TOO_SHORT, plain, plain)
    if known.get("refused"):
        return Choice("plain", known["refused"], plain, plain)
    patience = MOST_COMPILE_SECONDS if is_forced else min(MOST_COMPILE_SECONDS, max(steps * plain, COMPILE_SECONDS))
    try:
        prepared = prepare(task, run, seconds=patience, is_checked=bool(known.get("checked")))
    except Unsupported as error:
        if compiler():
            remember(facts, {"refused": str(error)})
        return Choice("plain", str(error), plain, plain)
    remember(facts, {"checked": True})
    seconds = _step_seconds(task, run, prepared)
    if seconds >= plain and not is_forced:
        return Choice("plain", "", plain, plain)
    return Choice("compiled", "", plain, seconds, prepared)


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


def prepare(task: Task, run: Run, *, seconds: float, is_checked: bool) -> Prepared:
    """Return the compiled step for a run, checked against the plain loop unless it was before.

    Args:
        task: What is trained.
        run: Says batch size, optimizer, sampling and dtype.
        seconds: How long each call of the compiler may take.
        is_checked: Whether the check can be left out.

    Raises:
        Unsupported: If the model cannot be compiled, or the compiled step is not the plain loop's.
    """
    device = torch.device("cpu")

    def make(exact: Run) -> tuple[Step, Replicas]:
        made = _compiled(task, exact, seconds)
        return made.step, made.replicas(task, [exact])

    if not is_checked:
        check_steps(task, run, device, make)
    found = _compiled(task, run, seconds)
    parts = list(splits_on(task, device, getattr(torch, run.dtype)).values())
    try:
        state = found.step.start(found.step.model)
        with_look = dataclasses.replace(found, look=compile_look(found.step, state, parts[0], seconds=seconds))
    except Unsupported:  # the module itself is asked then
        return found
    model = task.initialise(run.seed).to(getattr(torch, run.dtype))
    return with_look if check_look(task, with_look.replicas(task, [run]), parts, model) else found


def _compiled(task: Task, run: Run, seconds: float) -> Prepared:
    dtype = getattr(torch, run.dtype)
    step = step_of(task, run.optimizer, dtype)
    data = task.train.epoch(run.seed, 0).to(torch.device("cpu"), dtype)
    draws = {"order": torch.Generator(), "base": torch.Generator()}
    sizes = {len(indices) for indices in run.sampling.epoch(len(data), run.batch_size, **draws)}
    scalars = len(run.optimizer.coefficients(np.ones(1), np.ones(1)))
    state = step.start(step.model)
    programs = {
        size: compile_step(step, state, data, size, coefficients=scalars, seconds=seconds) for size in sorted(sizes)
    }
    return Prepared(step, programs, None)


def _step_seconds(task: Task, run: Run, prepared: Prepared) -> float:
    still = dataclasses.replace(run, learning_rate=run.optimizer.first_learning_rate)
    replicas = prepared.replicas(task, [still])
    times: list[float] = []
    began = time.perf_counter()
    for piece in itertools.islice(pieces(task, still, still.seed, torch.device("cpu")), WARM_UP + TIMED):
        asked = block([still], {still.seed: [piece]}, [0.0], 0, len(piece[1]))
        started = time.perf_counter()
        replicas.advance([0], asked)
        times.append(time.perf_counter() - started)
        if time.perf_counter() - began > PATIENCE and len(times) > WARM_UP:
            break
    return statistics.median(times[WARM_UP:] or times)
