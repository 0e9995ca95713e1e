"""Noise moments and the noise scale: planted truth, a naive twin, finite populations, and no clamping."""

import numpy as np
import pytest
import torch
from torch import nn

import critbatch as cb
from critbatch.budgets.steps import Steps
from critbatch.derivatives import group_gradients, per_example_gradients
from critbatch.engine.sequential import train_run
from critbatch.measurement import Snapshot
from critbatch.measurements.noise_moments import NoiseMoments
from critbatch.noise import Moments, has_batch_norm, noise_moments, noise_scale
from critbatch.objective import cross_entropy
from tests.problems import MODELS, assert_unbiased, blob_task, blobs, run_of

DRAWS = 4000
MEAN = torch.tensor([1.0, -0.5, 0.25], dtype=torch.float64)
SPREAD = torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)
TRACE, NORM = float(SPREAD.square().sum()), float(MEAN.square().sum())


def planted(sizes: torch.Tensor, estimate) -> tuple[np.ndarray, np.ndarray]:
    """Return estimates from micro-batch gradients of known mean and covariance (test T1 of our method notes)."""
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(DRAWS, len(sizes), 3, generator=draw, dtype=torch.float64)
    gradients = MEAN + noise * SPREAD / sizes[:, None].sqrt()
    pairs = [estimate(one, sizes) for one in gradients]
    return np.array([float(one) for one, _ in pairs]), np.array([float(two) for _, two in pairs])


@pytest.mark.parametrize("sizes", [[4, 4, 4, 4], [1, 7, 2, 6, 16], [1] * 16])
def test_moments_are_unbiased_for_equal_and_unequal_micro_batches(sizes):
    trace, norm = planted(torch.tensor(sizes, dtype=torch.float64), noise_moments)
    assert_unbiased(trace, TRACE, smallest_bias=0.2)
    assert_unbiased(norm, NORM, smallest_bias=0.2)


def plug_in(gradients, sizes):
    mean = (sizes[:, None] * gradients).sum(0) / sizes.sum()
    return (sizes * (gradients - mean).square().sum(1)).mean(), mean.square().sum()


def test_the_check_catches_the_plug_in_estimator():
    for draws, truth in zip(planted(torch.full((4,), 4.0, dtype=torch.float64), plug_in), (TRACE, NORM), strict=True):
        with pytest.raises(AssertionError, match="ratio"):
            assert_unbiased(draws, truth, smallest_bias=0.2)


def test_for_equal_sizes_it_is_the_two_batch_size_estimator_of_mccandlish():
    gradients = torch.randn(5, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    small, big = 3, 15
    squared_small = sum(float(one @ one) for one in gradients) / 5
    squared_big = float(gradients.mean(0) @ gradients.mean(0))
    norm = (big * squared_big - small * squared_small) / (big - small)
    trace = (squared_small - squared_big) / (1 / small - 1 / big)
    ours = noise_moments(gradients, torch.full((5,), 3.0, dtype=torch.float64))
    assert float(ours[0]) == pytest.approx(trace, rel=1e-12)
    assert float(ours[1]) == pytest.approx(norm, rel=1e-12)


def test_the_variance_of_the_trace_falls_with_the_number_of_micro_batches():
    few, many = (
        planted(torch.full((count,), 16.0 / count, dtype=torch.float64), noise_moments)[0].var() for count in (2, 16)
    )
    assert few / many == pytest.approx(15, rel=0.3)


def test_in_a_finite_population_the_norm_is_that_of_the_training_set():
    draw = torch.Generator().manual_seed(2)
    everyone = torch.randn(40, 6, generator=draw, dtype=torch.float64) + 0.2
    truth_trace = float((everyone - everyone.mean(0)).square().sum() / 39)
    truth_norm = float(everyone.mean(0).square().sum())
    pairs = []
    for _ in range(DRAWS):
        chosen = everyone[torch.randperm(40, generator=draw)[:24]]
        pairs.append([float(one) for one in noise_moments(chosen, chosen.new_ones(24), population=40)])
    trace, norm = np.array(pairs).T
    assert_unbiased(trace, truth_trace, smallest_bias=0.05)
    assert_unbiased(norm, truth_norm, smallest_bias=0.2)
    exact = noise_moments(everyone, everyone.new_ones(40), population=40)
    assert [float(one) for one in exact] == pytest.approx([truth_trace, truth_norm], rel=1e-12)


@pytest.mark.parametrize("population", [None, 100])
def test_sums_block_by_block_give_the_same_moments(population):
    gradients = torch.randn(9, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    sizes = torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 8, 9], dtype=torch.float64)
    moments = Moments()
    for some in (slice(0, 4), slice(4, 9)):
        moments.add(gradients[some], sizes[some])
    whole = [float(one) for one in noise_moments(gradients, sizes, population=population)]
    assert moments.result(population=population) == pytest.approx(whole, rel=1e-12)


def test_one_micro_batch_has_no_variance():
    moments = Moments()
    moments.add(torch.ones(1, 3), torch.ones(1))
    assert all(np.isnan(moments.result()))


def test_fresh_data_are_a_sample_of_something_infinite():
    def draw(generator, count):
        return torch.randn(count, 4, generator=generator) + 0.3, torch.zeros(count, dtype=torch.long)

    def model():
        return nn.Linear(4, 3)

    task = cb.Task(name="fresh", model=model, train=cb.Stream(draw, 64), test=draw(torch.Generator(), 64))
    run = run_of(task, batch_size=1, learning_rate=1e-9, budget=Steps(400), measurements=(NoiseMoments(per_decade=25),))
    found = train_run(task, run, torch.device("cpu")).records
    ours = {name: found.filter(found["quantity"] == name)["value"].to_numpy() for name in NoiseMoments().quantities}
    inputs, targets = draw(torch.Generator().manual_seed(1), 20000)
    gradients = per_example_gradients(task.initialise(0), cross_entropy, inputs, targets)
    truth = [float(one) for one in noise_moments(gradients, gradients.new_ones(20000))]
    assert_unbiased(ours["gradient_covariance_trace"], truth[0], smallest_bias=0.2)
    assert_unbiased(ours["gradient_squared_norm"], truth[1], smallest_bias=0.2)


@pytest.mark.parametrize(("examples", "finite"), [(96, True), (40, False)])
def test_batch_norm_is_measured_in_whole_groups_and_not_in_fewer_than_two(examples, finite):
    task = blob_task(MODELS["batch_norm"])
    trained = task.initialise(0).train()
    snapshot = Snapshot(task, trained, task.train.inputs, task.train.targets, 96, 8, 0.1, torch.Generator())
    found = NoiseMoments(examples=examples, group=32).measure(snapshot)
    assert np.isfinite(list(found.values())).all() == finite


def test_opposite_gradients_leave_the_scale_undetermined_and_nothing_clamped():
    gradients = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    trace, norm = noise_moments(gradients, torch.ones(2))
    assert float(norm) == -float(trace) / 2
    found = noise_scale(np.array([float(trace)] * 3), np.array([float(norm)] * 3) + np.array([0, 0.1, -0.1]))
    assert found.value is None
    assert "not told apart from 0" in found.reason


def test_the_scale_divides_last_and_has_fiellers_interval():
    found = noise_scale(np.array([9.0, 10.0, 11.0]), np.array([1.9, 2.0, 2.1]), batch_size=64)
    assert found.value == pytest.approx(5.0)
    assert found.low < 5.0 < found.high
    assert found.unit == "examples"
    assert noise_scale(np.ones(1), np.ones(1)).value is None


def test_too_few_micro_batches_are_refused():
    with pytest.raises(ValueError, match=r"at least 2 micro-batches.*got 1 gradients and 1 sizes"):
        noise_moments(torch.ones(1, 3), torch.ones(1))
    with pytest.raises(ValueError, match="got 3 gradients and 2 sizes"):
        noise_moments(torch.ones(3, 3), torch.ones(2))


@pytest.mark.parametrize("chunk", [1, 5, 128])
def test_per_example_gradients_equal_one_backward_pass_for_each(chunk):
    model = MODELS["mlp"]().double()
    inputs, targets = blobs(12, 0, torch.float64)
    found = per_example_gradients(model, cross_entropy, inputs, targets, chunk=chunk)
    for index in range(12):
        model.zero_grad()
        cross_entropy(model(inputs[index : index + 1]), targets[index : index + 1]).mean().backward()
        naive = torch.cat([one.grad.flatten() for one in model.parameters()])
        torch.testing.assert_close(found[index], naive, rtol=1e-12, atol=1e-14)


class Branching(nn.Module):
    """Cannot be vectorised: decides by the data."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, inputs):
        return self.inner(inputs) * (2 if inputs.sum().item() > 0 else 1)


def test_a_model_that_cannot_be_vectorised_is_differentiated_one_by_one():
    model = Branching().double()
    inputs, targets = blobs(6, 0, torch.float64)
    found = per_example_gradients(model, cross_entropy, inputs, targets)
    torch.testing.assert_close(found, group_gradients(model, cross_entropy, inputs, targets, size=1))


def test_frozen_and_unused_parameters_are_handled():
    model = nn.ModuleDict({"used": nn.Linear(4, 3), "frozen": nn.Linear(4, 3)})
    model["frozen"].requires_grad_(False)
    model.forward = lambda inputs: model["used"](inputs) + model["frozen"](inputs)
    inputs, targets = blobs(6, 0)
    assert per_example_gradients(model, cross_entropy, inputs, targets).shape == (6, 15)
    assert group_gradients(model, cross_entropy, inputs, targets, size=4).shape == (2, 15)


@pytest.mark.parametrize(("model", "norm"), [("mlp", False), ("batch_norm", True)])
def test_the_measurement_agrees_with_moments_by_hand(model, norm):
    task = blob_task(MODELS[model])
    trained = task.initialise(0).double().train()
    assert has_batch_norm(trained) == norm
    inputs, targets = task.train.inputs.double(), task.train.targets
    snapshot = Snapshot(task, trained, inputs, targets, 96, 8, 0.1, torch.Generator().manual_seed(0))
    found = NoiseMoments(examples=96, group=32).measure(snapshot)
    order = torch.randperm(96, generator=torch.Generator().manual_seed(0))
    size = 32 if norm else 1
    rows = []
    for some in order.split(size):
        trained.zero_grad()
        cross_entropy(trained(inputs[some]), targets[some]).mean().backward()
        rows.append(torch.cat([one.grad.flatten() for one in trained.parameters()]).clone())
    trace, squared = noise_moments(torch.stack(rows), torch.full((96 // size,), float(size)).double(), population=96)
    assert found["gradient_covariance_trace"] == pytest.approx(float(trace), rel=1e-9)
    assert found["gradient_squared_norm"] == pytest.approx(float(squared), rel=1e-9)
    assert set(found) == set(NoiseMoments().quantities)
