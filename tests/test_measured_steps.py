"""At which looks a measurement is taken."""

import numpy as np
import pytest
import torch

from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.measurement import look_steps, measured_steps
from critbatch.measurements.distance import DistanceFromStart
from critbatch.measurements.noise_moments import NoiseMoments
from tests.problems import blob_task, run_of


@pytest.mark.parametrize("per_decade", [1, 2, 3, 6, 8, 10, 25, 60])
def test_a_measurement_is_taken_as_often_as_it_asks_and_at_looks_only(per_decade):
    found = measured_steps(per_decade)
    assert found <= set(look_steps())
    for start in (100, 1000, 10_000):
        inside = [step for step in found if start <= step < 10 * start]
        assert len(inside) == min(per_decade, 25)


def test_a_run_measures_evenly_over_its_decades():
    task = blob_task()
    run = run_of(task, budget=Steps(120), measurements=(NoiseMoments(per_decade=6),))
    records = train_run(task, run, torch.device("cpu")).records
    steps = records.filter(records["quantity"] == "gradient_squared_norm")["step"].to_numpy()
    assert np.diff(np.log(steps[steps >= 5])).max() <= np.log(10) / 6 * 1.3


def test_what_counts_at_the_end_alone_is_measured_once_there():
    assert measured_steps(0) == frozenset()
    task = blob_task()
    run = run_of(task, budget=Steps(37), measurements=(DistanceFromStart(per_decade=0),))
    records = train_run(task, run, torch.device("cpu")).records
    rows = records.filter(records["quantity"] == "distance_from_start")
    assert rows["step"].to_list() == [37]
    assert rows["value"][0] > 0
