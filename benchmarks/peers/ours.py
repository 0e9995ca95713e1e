"""Our tiers. A tier is one line of TIERS: a function of a workload and a batch size that returns a trial."""

import dataclasses
import itertools
import time
from functools import partial

import torch

from critbatch.budgets.steps import Steps
from critbatch.engine.choice import prepare
from critbatch.engine.sequential import train_run
from critbatch.engine.together import MOST_INDICES, MOST_STEPS, block, pieces
from critbatch.optimizers.sgd import SGD
from critbatch.plan import Plan, sweep
from critbatch.samplings.reshuffle import Reshuffle
from critbatch.schedules.constant import Constant
from critbatch.task import Task

from ..answering import Prepare, Spent, Trial, answer
from ..workloads import Workload
from .torch_models import LEARNING_RATE, model

EVALUATED = 16  # examples of the test split: looks are not part of an update's time, and should be over soon


def task(workload: Workload) -> Task:
    """Return the workload as a task."""
    inputs, targets = torch.from_numpy(workload.inputs()), torch.from_numpy(workload.targets())
    test = (inputs[:EVALUATED], targets[:EVALUATED])
    return Task(name=workload.name, model=partial(model, workload), train=(inputs, targets), test=test)


def plan(chosen: Task, batch_size: int, updates: int, seeds: int = 1) -> Plan:
    """Return runs of so many updates each, one for each seed."""
    return sweep(
        chosen, batch_sizes=[batch_size], learning_rates=[LEARNING_RATE], seeds=range(seeds), optimizer=SGD(),
        schedule=Constant(), sampling=Reshuffle(), budget=Steps(max(1, updates)),
    )  # fmt: skip


def reference(workload: Workload, batch_size: int) -> Trial:
    """Return a training by the reference engine, T0; only training counts, as in every run's own seconds."""
    torch.set_num_threads(1)
    chosen = task(workload)

    def advance(updates: int) -> Spent:
        result = train_run(chosen, plan(chosen, batch_size, updates).runs[0], torch.device("cpu"))
        return Spent(result.steps, result.seconds)

    return Trial(advance)


def compiled(workload: Workload, batch_size: int) -> Trial:
    """Return a cohort of 16 runs (4 seeds x 4 learning rates) in the compiled step; drawing the orders counts."""
    torch.set_num_threads(1)
    chosen = task(workload)
    runs = [
        dataclasses.replace(run, learning_rate=LEARNING_RATE * 2.0**-power)
        for run in plan(chosen, batch_size, 1, seeds=4).runs
        for power in range(4)
    ]
    started = time.perf_counter()
    prepared = prepare(chosen, runs[0], {"benchmark": workload.name}, seconds=120, is_checked=False)
    detail = f"M={len(runs)}, compiled and checked in {time.perf_counter() - started:.1f} s"
    replicas = prepared.replicas(chosen, runs)
    sources = {seed: pieces(chosen, runs[0], seed, torch.device("cpu")) for seed in range(4)}

    def advance(updates: int) -> Spent:
        steps = min(-(-updates // len(runs)), MOST_STEPS, max(1, MOST_INDICES // batch_size))
        started = time.perf_counter()
        taken = {seed: list(itertools.islice(source, steps)) for seed, source in sources.items()}
        replicas.advance(range(len(runs)), block(runs, taken, [1.0] * steps, 0, batch_size))
        return Spent(steps * len(runs), time.perf_counter() - started)

    return Trial(advance, detail)


TIERS: dict[str, Prepare] = {"T0": reference, "compiled": compiled}

if __name__ == "__main__":
    answer(TIERS, ("critbatch", "torch"))
