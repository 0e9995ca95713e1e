"""The population engine: a cohort's runs trained together, as fast as the machine allows, with the plain loop's numbers."""

import dataclasses
import logging
import math
import time
from collections.abc import Mapping
from typing import Literal

import torch

from ..budget import Progress
from ..data import Examples
from ..plan import Run, RunResult
from ..task import Task
from . import sequential
from .choice import TOO_SHORT, Choice, choose, forget_others, plain_step_seconds
from .looks import Looks, ask_the_module
from .native.values import Unsupported
from .together import UnevenBatches, train_together

Engine = Literal["auto", "population", "sequential"]
ENGINES: tuple[Engine, ...] = ("auto", "population", "sequential")
LOG = logging.getLogger("critbatch.engine")

_said: set[str] = set()


def train(
    tasks: Mapping[str, Task], cohort: tuple[Run, ...], device: str = "cpu", engine: Engine = "auto",
    planned: Mapping[int, float] | None = None,
) -> list[RunResult]:  # fmt: skip
    """Train the runs of a cohort and return their results, in their order.

    Args:
        tasks: The tasks that the runs name.
        cohort: Runs that differ in learning rate and seed only.
        device: Where to train, as torch spells it.
        engine: "sequential" trains in the plain loop, one run after another. "population" compiles the step wherever
            that can be done. "auto" compiles it if measurements say that this saves time.
        planned: Steps that the whole plan has for each batch size, to weigh the compiler's time against; the cohort's
            own if it is not given.
    """
    task, run = tasks[cohort[0].task], cohort[0]
    if engine == "sequential":
        return sequential.train(tasks, cohort, device)
    forget_others(tasks.values())  # of earlier work of this process
    steps = (planned or {}).get(run.batch_size) or most_steps(task, run) * len(cohort)
    chosen = survey(task, run, torch.device(device), engine, steps)
    found = _together(task, cohort, torch.device(device), chosen)
    if isinstance(found, list):
        return found
    reason = "" if found == TOO_SHORT else found
    note = f"trained in the plain loop: {reason}" if reason else ""
    if note:
        _say(f"{task.name}, batch size {run.batch_size}: {note}")
    results = sequential.train(tasks, cohort, device)
    return [dataclasses.replace(one, note="; ".join(filter(None, [one.note, note]))) for one in results]


def survey(task: Task, run: Run, device: torch.device, engine: Engine, steps: float) -> Choice:
    """Return which tier trains runs like `run`, of which `steps` steps are planned, and what a step takes there."""
    reason = "" if engine == "sequential" else obstacle(task, run)
    if engine == "sequential" or reason:
        plain = plain_step_seconds(task, run, device)
        return Choice("plain", reason, plain, plain)
    return choose(task, run, device, steps=steps, is_forced=engine == "population")


def look_seconds(task: Task, run: Run, device: torch.device, chosen: Choice) -> float:
    """Return what it takes to evaluate a run once in the chosen tier."""
    looks = Looks(task, run, device)
    model = task.initialise(run.seed).to(device, getattr(torch, run.dtype)).train()
    replicas = chosen.prepared.replicas(task, [run]) if chosen.prepared else None
    means = ask_the_module if replicas is None else lambda part: replicas.means(0, part)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        looks.take(lambda: model, Progress(0, 0, 0.0, len(task.train)), means)
        times.append(time.perf_counter() - started)
    return min(times)


def _together(task: Task, cohort: tuple[Run, ...], device: torch.device, chosen: Choice) -> list[RunResult] | str:
    """Return the results, or why they have to come from the plain loop (empty: because that is the faster one)."""
    if chosen.prepared is None:
        return chosen.reason
    note = f"trained in the {chosen.tier} engine: {chosen.reason}" if chosen.reason else ""
    try:
        try:
            replicas = chosen.prepared.replicas(task, cohort)
            return train_together(task, cohort, device, replicas, plain_seconds=chosen.plain_seconds, note=note)
        except UnevenBatches:
            found: dict[str, RunResult] = {}
            for seed in {run.seed for run in cohort}:
                alike = [run for run in cohort if run.seed == seed]
                replicas = chosen.prepared.replicas(task, alike)
                for result in train_together(
                    task, alike, device, replicas, plain_seconds=chosen.plain_seconds, note=note
                ):  # fmt: skip
                    found[result.run.id] = result
            return [found[run.id] for run in cohort]
    except Unsupported as error:
        return str(error)
    except (RuntimeError, MemoryError, LookupError, TypeError) as error:  # if it is wrong there too, the loop says what
        return f"{type(error).__name__} in the {chosen.tier} engine: {str(error).splitlines()[0][:200]}"


def obstacle(task: Task, run: Run) -> str:
    """Return why a run cannot train in a population, in a plain sentence; empty if it can."""
    if math.isinf(run.budget.most_steps(run.batch_size, len(task.train))):
        return "its budget counts seconds, which a run has for itself only when it trains alone"
    if run.sampling.steering is not None:
        return "its batch size is decided while it trains"
    if run.micro_batch_size < run.batch_size:
        return "it accumulates micro-batches"
    if isinstance(task.train, Examples) and len(task.train) < run.batch_size:
        return "the batch is larger than the training set"
    return ""


def most_steps(task: Task, run: Run) -> float:
    """Return the steps after which the run's budget is surely spent."""
    return run.budget.most_steps(run.batch_size, len(task.train))


def _say(text: str) -> None:
    if text not in _said:
        _said.add(text)
        LOG.warning("%s", text)
