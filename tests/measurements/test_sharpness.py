"""The four measurements of sharpness: what the instruments say of the first examples, and no trace in training."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.measurements.adaptive_sharpness import AdaptiveSharpness
from critbatch.measurements.ascent_sharpness import AscentSharpness
from critbatch.measurements.batch_sharpness import BatchSharpness
from critbatch.measurements.keskar_sharpness import KeskarSharpness
from critbatch.minima.adaptive import adaptive_sharpness, fisher_rao_norm
from critbatch.minima.ascent import ascent_sharpness, micro_batch_ascent_sharpness
from critbatch.minima.batches import batch_curvatures
from critbatch.minima.keskar import keskar_sharpness, random_directions
from critbatch.minima.surface import Surface
from tests.problems import MODELS, blob_task, norm_mlp, regression_task, run_of, zero_linear

from .test_hidden_units import snapshot_of

EVERY = (
    KeskarSharpness(examples=20, epsilons=(1e-3,)), AdaptiveSharpness(), AscentSharpness(groups=(8,)),
    BatchSharpness(batches=3),
)  # fmt: skip
every = pytest.mark.parametrize("measurement", EVERY, ids=lambda one: type(one).__name__)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def surface_of(task, model, count: int, **options) -> Surface:
    return Surface(model, task.losses, task.train.inputs[:count], task.train.targets[:count], **options)


def test_metric_2_1_is_that_of_the_first_examples_in_each_space():
    task = blob_task(norm_mlp, l2=0.1)
    found = KeskarSharpness(examples=50, epsilons=(1e-2,)).measure(snapshot_of(task, generator=draws(4)))
    surface, generator = surface_of(task, task.initialise(0), 50), draws(4)
    directions = random_directions(surface, generator=generator)
    rises = {
        "full": keskar_sharpness(surface, epsilon=1e-2, generator=generator),
        "random": keskar_sharpness(surface, epsilon=1e-2, directions=directions, generator=generator),
        "adaptive": keskar_sharpness(surface, epsilon=1e-2, offset=0.0, generator=generator),
    }
    for space, rise in rises.items():
        # the last bit of a product of matrices depends on where they lie in memory
        assert found[f"keskar_sharpness[{space},0.01]"] == pytest.approx(rise.value, rel=1e-3)
        assert found[f"keskar_at_bound[{space},0.01]"] == pytest.approx(rise.at_bound, abs=0.05)
    assert found["keskar_evaluations"] == pytest.approx(sum(one.evaluations for one in rises.values()), abs=5)


@pytest.mark.parametrize("measurement", [EVERY[0], EVERY[3]], ids=lambda one: type(one).__name__)
def test_batch_norm_may_use_the_statistics_of_the_examples(measurement):
    snapshot = snapshot_of(blob_task(norm_mlp))
    running = measurement.measure(snapshot)
    other = dataclasses.replace(measurement, normalisation="batch")
    batch = other.measure(dataclasses.replace(snapshot, generator=draws()))
    name = next(iter(measurement.quantities))
    assert math.isfinite(batch[name])
    assert batch[name] != running[name]


def test_adaptive_sharpness_leaves_the_penalty_out():
    task = blob_task(l2=0.1)
    found = AdaptiveSharpness(examples=50, radius=0.2, filter_radius=0.3, steps=2).measure(snapshot_of(task))
    surface = surface_of(task, task.initialise(0), 50)
    expected = {
        "adaptive_sharpness[elementwise]": adaptive_sharpness(surface, radius=0.2, steps=2),
        "adaptive_sharpness[filter]": adaptive_sharpness(surface, radius=0.3, scale="filter", steps=2),
        "fisher_rao_norm": fisher_rao_norm(surface),
    }
    assert found == pytest.approx(expected, rel=1e-4)


def test_ascent_sharpness_is_that_of_all_and_of_groups():
    task = blob_task(l2=0.1)
    found = AscentSharpness(examples=50, radius=0.1, groups=(1, 10, 60)).measure(snapshot_of(task, generator=draws(4)))
    surface, generator = surface_of(task, task.initialise(0), 50), draws(4)
    assert found["ascent_sharpness"] == pytest.approx(ascent_sharpness(surface, radius=0.1), rel=1e-4)
    for size in (1, 10):
        expected = micro_batch_ascent_sharpness(surface, size=size, radius=0.1, generator=generator).value
        assert found[f"ascent_sharpness[m={size}]"] == pytest.approx(expected, rel=1e-4)
    assert math.isnan(found["ascent_sharpness[m=60]"]), "there are 50 examples"


@pytest.mark.parametrize("second_pass", [False, True])
def test_batch_sharpness_is_of_the_runs_batch_size_with_the_penalty(second_pass):
    task = blob_task(l2=0.1)
    snapshot = snapshot_of(task, batch_size=6, learning_rate=0.02, generator=draws(4))
    found = BatchSharpness(examples=50, batches=5, second_pass=second_pass).measure(snapshot)
    surface, rate = surface_of(task, task.initialise(0), 50, l2=0.1), 0.02 if second_pass else None
    batches = batch_curvatures(surface, batch_size=6, batches=5, generator=draws(4), second_pass=rate)
    for name, one in (("mean_of_ratios", batches.mean_of_ratios()), ("ratio_of_means", batches.ratio_of_means())):
        assert found[f"batch_sharpness[{name}]"] == pytest.approx(one.value, rel=1e-4)
        assert found[f"batch_sharpness_error[{name}]"] == pytest.approx((one.high - one.low) / 2, rel=1e-3)
    assert found["batch_curvature"] == pytest.approx(np.mean(batches.curvature), rel=1e-4)
    assert found["batch_squared_norm"] == pytest.approx(np.mean(batches.squared_norm), rel=1e-4)
    assert found["stability_edge"] == pytest.approx(100)


def test_batches_larger_than_the_reference_set_are_whole_and_those_larger_than_all_are_all():
    task = blob_task()
    found = [
        BatchSharpness(examples=10, batches=3).measure(snapshot_of(task, batch_size=size, generator=draws()))
        for size in (96, 500)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-4, abs=1e-6)
    assert found[0]["batch_sharpness_error[mean_of_ratios]"] == pytest.approx(0, abs=1e-6)


@every
def test_numbers_that_are_not_finite_do_not_stop_a_run(measurement):
    task = regression_task(dimension=4, count=20)
    model = zero_linear(4)
    with torch.no_grad():
        next(model.parameters()).fill_(torch.inf)
    found = measurement.measure(snapshot_of(task, model=model))
    assert list(found) == list(measurement.quantities)
    assert math.isnan(found[next(iter(found))])


@every
def test_measuring_leaves_training_alone(measurement):
    task = blob_task(MODELS["dropout"])
    plain = run_of(task, budget=Steps(12))
    measured = dataclasses.replace(plain, measurements=(measurement,))
    without, with_it = (train_run(task, run, torch.device("cpu")).records for run in (plain, measured))
    kept = with_it.filter(with_it["quantity"].is_in(without["quantity"].unique().to_list()))
    assert kept["value"].to_list() == without["value"].to_list()
    assert with_it.filter(with_it["quantity"] == next(iter(measurement.quantities)))["step"].max() == 12


@pytest.mark.parametrize(
    ("make", "bad"),
    [
        (KeskarSharpness, {"examples": 0}), (KeskarSharpness, {"epsilons": ()}), (KeskarSharpness, {"epsilons": (0.0,)}),
        (KeskarSharpness, {"epsilons": (1e-3, 1e-3)}), (AscentSharpness, {"groups": (4, 4)}),
        (AdaptiveSharpness, {"examples": 0}), (AdaptiveSharpness, {"radius": 0.0}), (AdaptiveSharpness, {"steps": 0}),
        (AscentSharpness, {"examples": 0}), (AscentSharpness, {"radius": -1.0}), (AscentSharpness, {"groups": (0,)}),
        (BatchSharpness, {"examples": 0}), (BatchSharpness, {"batches": 1}),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(make, bad):
    name, value = next(iter(bad.items()))
    with pytest.raises(ValueError, match=make.__name__) as caught:
        make(**bad)
    assert f"{name}={value}" in str(caught.value)
