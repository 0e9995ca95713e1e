"""A measurement that asks for it is taken at the look that ends a run; others, and training, are as they were."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl
import pytest
import torch

from critbatch.budgets.steps import Steps
from critbatch.engine import population, sequential
from critbatch.measurement import Measurement, Snapshot, look_steps
from critbatch.plan import Run, RunResult
from critbatch.record import Ending
from critbatch.task import Target, Task
from tests.problems import regression_task, run_of


@dataclass(frozen=True)
class Size(Measurement):
    """The largest parameter."""

    ends: bool = True

    @property
    def looks_per_decade(self) -> int:
        return 1

    @property
    def at_the_end(self) -> bool:
        return self.ends

    @property
    def quantities(self) -> Mapping[str, str]:
        return {"size": ""}

    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        return {"size": max(float(one.detach().abs().max()) for one in snapshot.model.parameters())}


def trained(task: Task, run: Run, engine: str) -> RunResult:
    (found,) = population.train({task.name: task}, (run,), engine=engine)
    return found


def measured_at(result: RunResult) -> list[int]:
    return result.records.filter(pl.col("quantity") == "size")["step"].to_list()


@pytest.mark.parametrize("engine", ["sequential", "population"])
@pytest.mark.parametrize(
    ("changes", "ending"),
    [
        ({}, Ending.BUDGET),
        ({"target": Target("test_squared_error", 0.01, "below"), "budget": Steps(400)}, Ending.TARGET),
        ({"learning_rate": 3.0, "budget": Steps(400)}, Ending.DIVERGED),
    ],
)
def test_it_is_taken_at_the_end_unless_the_run_diverged(engine, changes, ending):
    task = regression_task()
    run = run_of(task, **({"budget": Steps(37)} | changes), measurements=(Size(),))
    found = trained(task, run, engine)
    without = trained(task, dataclasses.replace(run, measurements=(Size(ends=False),)), engine)
    usual = [step for step in look_steps(1) if step <= found.steps]
    assert found.ending is without.ending is ending
    assert found.steps == without.steps not in usual
    assert measured_at(without) == usual
    assert measured_at(found) == (usual if ending is Ending.DIVERGED else [*usual, found.steps])
    rest = [one.records.filter(pl.col("quantity") != "size").drop("seconds") for one in (found, without)]
    assert rest[0].equals(rest[1])


def test_a_last_look_that_is_due_anyway_is_measured_once():
    task = regression_task()
    found = sequential.train_run(task, run_of(task, budget=Steps(10), measurements=(Size(),)), torch.device("cpu"))
    assert measured_at(found) == [0, 1, 10]
