"""What holds for all measurements of hidden units: no trace in training, held-out data, and models without any."""

import dataclasses

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from critbatch.budgets.steps import Steps
from critbatch.engine import population, sequential
from critbatch.measurement import Snapshot
from critbatch.measurements.ablation import Ablation
from critbatch.measurements.effective_rank import EffectiveRank
from critbatch.measurements.halves_alignment import HalvesAlignment
from critbatch.measurements.redundant_units import RedundantUnits
from tests.problems import MODELS, blob_task, run_of, zoo_task

EVERY = (EffectiveRank(), RedundantUnits(), Ablation(shares=2, draws=1), HalvesAlignment(splits=2))
every = pytest.mark.parametrize("measurement", EVERY, ids=lambda one: type(one).__name__)


def snapshot_of(task, **changes) -> Snapshot:
    fields = {
        "task": task, "model": task.initialise(0).train(), "inputs": task.train.inputs, "targets": task.train.targets,
        "population": len(task.train), "batch_size": 8, "learning_rate": 0.1,
        "generator": torch.Generator().manual_seed(0),
    } | changes  # fmt: skip
    return Snapshot(**fields)


@pytest.mark.parametrize("engine", ["sequential", "population"])
def test_measuring_leaves_training_alone(engine):
    task = blob_task(MODELS["dropout"])
    plain = run_of(task, budget=Steps(12))
    measured = dataclasses.replace(plain, measurements=EVERY)
    train = sequential.train if engine == "sequential" else population.train
    losses = [
        one.records.filter(pl.col("quantity").str.contains("^(train|validation|test)_"))["value"].to_list()
        for run in (plain, measured)
        for one in train({task.name: task}, (run,))
    ]
    assert losses[0] == losses[1]


@every
def test_training_examples_do_not_matter_and_neither_does_dropout(measurement):
    task = blob_task(MODELS["dropout"])
    model = task.initialise(3)
    found = [
        measurement.measure(snapshot_of(task, model=model, inputs=inputs, generator=torch.Generator().manual_seed(5)))
        for inputs in (task.train.inputs, torch.randn(96, 4))
    ]
    assert found[0] == found[1]


@every
def test_a_model_without_hidden_layers_has_no_value(measurement):
    found = measurement.measure(snapshot_of(blob_task(lambda: nn.Linear(4, 3))))
    assert set(found) == set(measurement.quantities)
    assert all(np.isnan(value) for value in found.values())


@every
def test_parameters_that_are_not_finite_have_no_value(measurement):
    task = blob_task()
    model = task.initialise(0)
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    found = measurement.measure(snapshot_of(task, model=model))
    assert np.isnan(list(found.values())).all() or isinstance(measurement, Ablation)


@every
@pytest.mark.parametrize("name", ["wide cnn", "transformer", "encoder layer", "branched"])
def test_other_architectures_have_values(measurement, name):
    task = zoo_task(name)
    found = measurement.measure(snapshot_of(task))
    assert np.isfinite(list(found.values())).all()
