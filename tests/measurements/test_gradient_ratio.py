"""Mean and scatter of mini-batch gradients by layer: a twin by loops, closed forms, batches as they lie, and no trace."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.measurements.gradient_ratio import GradientRatio
from critbatch.sampling import LastBatch
from tests.problems import MODELS, blob_task, regression_task, run_of

from .test_hidden_units import snapshot_of


def naive(task, batches: list[torch.Tensor]) -> list[tuple[float, float]]:
    """Return |mean| and |standard deviation| of each weight matrix's gradients, stacked and by numpy."""
    model = task.initialise(0).train()
    weights = [layer.weight for layer in model if isinstance(layer, nn.Linear)]
    stacked: list[list[np.ndarray]] = [[] for _ in weights]
    for batch in batches:
        model.zero_grad()
        task.losses(model(task.train.inputs[batch]), task.train.targets[batch]).mean().backward()
        for rows, weight in zip(stacked, weights, strict=True):
            rows.append(weight.grad.numpy().astype(float))
    return [(np.linalg.norm(np.mean(rows, 0)), np.linalg.norm(np.std(rows, 0))) for rows in stacked]


@pytest.mark.parametrize("name", ["mlp", "batch_norm"])
@pytest.mark.parametrize(("last", "count"), [(LastBatch.DROP, 2), (LastBatch.WEIGHT, 3)])
def test_it_equals_norms_of_stacked_gradients(name, last, count):
    task = blob_task(MODELS[name])
    found = GradientRatio(layers=3, last_batch=last).measure(snapshot_of(task, batch_size=40))
    order = torch.randperm(96, generator=torch.Generator().manual_seed(0))
    truth = naive(task, [order[:40], order[40:80], order[80:]][:count])
    for layer, (mean, deviation) in enumerate(truth, 1):
        assert found[f"gradient_mean_norm[layer={layer}]"] == pytest.approx(mean, rel=1e-5)  # single precision
        assert found[f"gradient_deviation_norm[layer={layer}]"] == pytest.approx(deviation, rel=1e-5)
    assert np.isnan([found[name] for name in GradientRatio().names(3)]).all(), "there is no third layer"


def test_unshuffled_batches_are_cut_as_the_set_lies_and_no_more_than_asked():
    task = blob_task()
    (ours, *_) = naive(task, [torch.arange(8 * k, 8 * k + 8) for k in range(5)])
    found = GradientRatio(batches=5, shuffled=False).measure(snapshot_of(task))
    assert tuple(found.values()) == pytest.approx(ours, rel=1e-5)


@pytest.mark.parametrize("batch_size", [96, 1000])
def test_the_whole_set_has_no_scatter(batch_size):
    found = GradientRatio(layers=2).measure(snapshot_of(blob_task(), batch_size=batch_size))
    assert [found[name] for layer in (1, 2) for name in GradientRatio().names(layer)[1:]] == [0, 0]
    assert found["gradient_mean_norm[layer=1]"] > 0


def test_scatter_over_a_shuffled_epoch_is_that_of_finite_populations():
    task = regression_task(dimension=3, count=240)
    gradients = -task.train.inputs * task.train.targets  # at the start, where all weights are 0
    variance = float(gradients.double().var(0, correction=1).sum())
    model, draws = task.initialise(0), []
    for seed in range(150):
        found = GradientRatio().measure(
            snapshot_of(task, model=model, batch_size=60, generator=torch.Generator().manual_seed(seed))
        )
        draws.append(found["gradient_deviation_norm[layer=1]"] ** 2)
        assert found["gradient_mean_norm[layer=1]"] == pytest.approx(float(gradients.mean(0).norm()), rel=1e-4)
    # S_N (1/B - 1/N), which is 25% less than with replacement; 150 draws of 4 batches: standard error about 4%
    assert np.mean(draws) == pytest.approx(variance * (1 / 60 - 1 / 240), rel=0.15)


def test_measuring_leaves_training_alone():
    task = blob_task(MODELS["dropout"])
    plain = run_of(task, budget=Steps(12))
    measured = dataclasses.replace(plain, measurements=(GradientRatio(batches=3),))
    without, with_it = (train_run(task, run, torch.device("cpu")).records for run in (plain, measured))
    kept = with_it.filter(with_it["quantity"].is_in(without["quantity"].unique().to_list()))
    assert kept["value"].to_list() == without["value"].to_list()
    assert with_it.filter(with_it["quantity"] == "gradient_mean_norm[layer=1]")["step"].max() == 12


@pytest.mark.parametrize("bad", [{"layers": 0}, {"batches": 0}])
def test_nothing_to_measure_is_refused(bad):
    with pytest.raises(ValueError, match="give at least 1 of each"):
        GradientRatio(**bad)
