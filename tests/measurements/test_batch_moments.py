"""Batch moments: a naive twin, the exact table on real gradients, what it cannot measure, and training left alone."""

import math

import numpy as np
import pytest
import torch

from critbatch.engine.sequential import train_run
from critbatch.measurement import Snapshot
from critbatch.measurements.batch_moments import BatchMoments
from tests.problems import MODELS, blob_task, run_of

KINDS = ("without", "with", "epoch")


def snapshot_of(model: str = "mlp", seed: int = 0) -> Snapshot:
    task = blob_task(MODELS[model])
    inputs, targets = task.train.inputs.double(), task.train.targets
    return Snapshot(
        task, task.initialise(0).double().train(), inputs, targets, 96, 8, 0.1, torch.Generator().manual_seed(seed)
    )


def gradient(snapshot: Snapshot, batch: torch.Tensor) -> torch.Tensor:
    snapshot.model.zero_grad()
    snapshot.task.losses(snapshot.model(snapshot.inputs[batch]), snapshot.targets[batch]).mean().backward()
    return torch.cat([one.grad.flatten() for one in snapshot.model.parameters()]).clone()


def test_it_agrees_with_gradients_of_the_batches_themselves():
    count, draws, size = 20, 6, 7
    found = BatchMoments(batch_sizes=(size,), examples=count, draws=draws).measure(snapshot_of())
    snapshot, draw = snapshot_of(), torch.Generator().manual_seed(0)
    chosen = torch.randperm(96, generator=draw)[:count]
    orders = [torch.rand(draws, count, generator=draw, dtype=torch.float64).argsort(1) for _ in range(2)]
    examples = [torch.randint(count, (draws, count), generator=draw) for _ in range(2)]
    sets = torch.randint(count, (draws, count), generator=draw)
    mean = gradient(snapshot, chosen)
    spread = sum(float((gradient(snapshot, chosen[[one]]) - mean).square().sum()) for one in range(count)) / (count - 1)
    factor = {"without": 1 / size - 1 / count, "epoch": 1 / size - 1 / count, "with": (1 - 1 / count) / size}
    for kind in KINDS:
        values: dict[str, list[float]] = {"variance": [], "together": [], "of data": [], "variance of data": []}
        for row in range(draws):
            first = examples[0][row, :size] if kind == "with" else orders[0][row, :size]
            second = {"with": examples[1][row, :size], "without": orders[1][row, :size],
                      "epoch": orders[0][row, size : 2 * size]}[kind]  # fmt: skip
            for name, there in (("", chosen), (" of data", chosen[sets[row]])):
                one, other = (gradient(snapshot, there[batch]) - mean for batch in (first, second))
                values[f"variance{name}"].append(float(one @ one))
                values["of data" if name else "together"].append(float(one @ other))
        means = {name: np.mean(one) for name, one in values.items()}
        end = f"[{kind},B={size}]"
        ratios = np.array(values["variance"]) / (factor[kind] * spread)
        assert found[f"batch_variance_ratio{end}"] == pytest.approx(ratios.mean(), rel=1e-9)
        assert found[f"batch_variance_ratio_error{end}"] == pytest.approx(ratios.std(ddof=1) / draws**0.5, rel=1e-9)
        assert found[f"batch_correlation{end}"] == pytest.approx(means["together"] / means["variance"], rel=1e-9)
        of_data = means["of data"] / means["variance of data"]
        assert found[f"batch_correlation_of_data{end}"] == pytest.approx(of_data, rel=1e-9)


def misses(found: dict[str, float]) -> dict[str, float]:
    """Return how many standard errors each quantity is off its prediction."""
    far = {}
    for name, value in found.items():
        kind, _, cell = name.partition("[")
        if kind in {"batch_variance_ratio", "batch_correlation", "batch_correlation_of_data"} and math.isfinite(value):
            expected = 1.0 if kind == "batch_variance_ratio" else found[f"{kind}_predicted[{cell}"]
            far[name] = (value - expected) / max(found[f"{kind}_error[{cell}"], 1e-9)
    return far


def test_the_exact_table_holds_on_gradients_of_a_network_and_its_errors_are_right():
    measurement = BatchMoments(batch_sizes=(1, 8, 48, 96), draws=2000)
    rounds = [measurement.measure(snapshot_of(seed=seed)) for seed in range(6)]
    far = {name: np.array([misses(found)[name] for found in rounds]) for name in misses(rounds[0])}
    assert all(abs(one.mean()) < 4 / len(rounds) ** 0.5 for one in far.values()), far
    spread = np.sqrt(np.mean([np.square(one) for one in far.values() if np.abs(one).max() > 1e-3]))
    assert 0.8 < spread < 1.2  # 28 cells, 6 rounds: a standard error that is 20 % off shows
    errors = [value for name, value in rounds[0].items() if "_error" in name and math.isfinite(value)]
    assert max(errors) < 0.04  # a cell that is 7 % off would show: 4 errors over 6 rounds
    assert rounds[0]["batch_correlation[epoch,B=48]"] == pytest.approx(-1, abs=1e-9)
    assert rounds[0]["batch_variance_ratio[without,B=96]"] == pytest.approx(1, abs=1e-9)


def test_leaving_the_training_sets_size_out_of_the_prediction_would_be_seen():
    found = BatchMoments(batch_sizes=(48,), draws=2000).measure(snapshot_of())
    without_correction = found["batch_variance_ratio[without,B=48]"] * (1 - 48 / 96)
    assert (1 - without_correction) / found["batch_variance_ratio_error[without,B=48]"] > 10


def test_what_is_not_there_is_not_a_number():
    found = BatchMoments(batch_sizes=(60, 96, 97), draws=20).measure(snapshot_of())
    assert math.isnan(found["batch_correlation[epoch,B=60]"])
    assert math.isnan(found["batch_correlation[without,B=96]"])
    assert math.isnan(found["batch_variance_ratio[with,B=97]"])
    assert math.isfinite(found["batch_correlation_of_data[without,B=96]"])
    coupled = BatchMoments(draws=20).measure(snapshot_of("batch_norm"))
    assert set(coupled) == set(BatchMoments().quantities)
    assert all(math.isnan(one) for one in coupled.values())


def test_measuring_leaves_training_alone():
    task = blob_task()
    plain, measured = (
        train_run(task, run_of(task, measurements=measurements), torch.device("cpu")).records
        for measurements in ((), (BatchMoments(draws=20),))
    )
    losses = [one.filter(one["quantity"] == "test_loss")["value"].to_list() for one in (plain, measured)]
    assert losses[0] == losses[1]
