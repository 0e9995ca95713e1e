"""Our tiers. A tier is one line of TIERS: a function of a workload and a batch size that returns a trial."""

from functools import partial

import torch

from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
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


TIERS: dict[str, Prepare] = {"T0": reference}

if __name__ == "__main__":
    answer(TIERS, ("critbatch", "torch"))
