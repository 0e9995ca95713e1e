"""Noise moments: planted truth, a naive twin, finite populations, and no clamping."""

from functools import cache
from itertools import combinations

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


@cache
def planted_moments(*sizes: int) -> tuple[np.ndarray, np.ndarray]:
    return planted(torch.tensor(sizes, dtype=torch.float64), noise_moments)


@pytest.mark.parametrize("sizes", [[4, 4, 4, 4], [1, 7, 2, 6, 16], [1] * 16])
def test_moments_are_unbiased_for_equal_and_unequal_micro_batches(sizes):
    trace, norm = planted_moments(*sizes)
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


@pytest.mark.parametrize("count", [2, 4, 16])
def test_variances_and_covariance_are_those_of_gaussian_gradients(count):
    batch = 16
    squared = float(SPREAD.pow(4).sum())  # tr(Sigma^2)
    along = float((SPREAD.square() * MEAN.square()).sum())  # G' Sigma G
    of_trace = 2 * squared / (count - 1)
    of_norm = 4 * along / batch + 2 * squared / batch**2 * count / (count - 1)
    trace, norm = (one - one.mean() for one in planted_moments(*[batch // count] * count))
    assert_unbiased(trace**2, of_trace, smallest_bias=0.5)
    assert_unbiased(norm**2, of_norm, smallest_bias=0.5)
    # as a correlation, which is small for many micro-batches; 1 is added so that it is seen as a share of something
    correlation = 1 + trace * norm / (of_trace * of_norm) ** 0.5
    truth = 1 - 2 * squared / (batch * (count - 1)) / (of_trace * of_norm) ** 0.5
    assert_unbiased(correlation, truth, smallest_bias=0.6)


def test_the_variance_of_the_trace_falls_with_the_number_of_micro_batches():
    few, many = planted_moments(8, 8)[0].var(), planted_moments(*[1] * 16)[0].var()
    assert few / many == pytest.approx(15, rel=0.3)


def test_shifting_all_gradients_leaves_the_trace_alone():
    gradients = torch.randn(3, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    sizes = torch.tensor([2.0, 9.0, 5.0], dtype=torch.float64)
    ours, moved = (float(noise_moments(one, sizes)[0]) for one in (gradients, gradients + 5.0))
    assert moved == pytest.approx(ours, rel=1e-12)


@pytest.mark.parametrize("chosen", [2, 3, 5, 7])
def test_over_all_subsets_of_a_finite_set_the_moments_are_exact(chosen):
    everyone = torch.randn(7, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64) + 0.4
    truth = everyone.mean(0).square().sum(), (everyone - everyone.mean(0)).square().sum() / 6
    subsets = [everyone[list(subset)] for subset in combinations(range(7), chosen)]
    ones = everyone.new_ones(chosen)
    squared = torch.stack([subset.mean(0).square().sum() for subset in subsets]).mean()
    assert float(squared) == pytest.approx(float(truth[0] + truth[1] * (1 / chosen - 1 / 7)), rel=1e-12)
    finite = torch.stack([torch.stack(noise_moments(subset, ones, population=7)) for subset in subsets]).mean(0)
    infinite = torch.stack([torch.stack(noise_moments(subset, ones)) for subset in subsets]).mean(0)
    assert finite.tolist() == pytest.approx([float(truth[1]), float(truth[0])], rel=1e-12)
    assert float(infinite[0]) == pytest.approx(float(truth[1]), rel=1e-12)
    assert float(infinite[1]) == pytest.approx(float(truth[0] - truth[1] / 7), rel=1e-12, abs=1e-14)


def test_preconditioned_by_its_deviations_the_scale_does_not_see_how_parameters_are_scaled():
    # P = standard deviations: tr(P^-2 Sigma)/|P^-1 G|^2 = d / sum (mean/deviation)^2
    rescaled = torch.tensor([10.0, 0.1, 3.0], dtype=torch.float64)
    noise = torch.randn(64, 3, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    gradients, ones = MEAN + noise * SPREAD, torch.ones(64, dtype=torch.float64)
    plain = noise_moments(gradients / SPREAD, ones)
    other = noise_moments(gradients / rescaled / (SPREAD / rescaled), ones)
    assert [float(one) for one in other] == pytest.approx([float(one) for one in plain], rel=1e-12)
    half = noise_moments(gradients / SPREAD.sqrt(), ones)
    moved = noise_moments(gradients / rescaled / (SPREAD / rescaled).sqrt(), ones)
    assert float(half[0] / half[1]) != pytest.approx(float(moved[0] / moved[1]), rel=0.05)
    many = MEAN + torch.randn(40000, 3, generator=torch.Generator().manual_seed(7), dtype=torch.float64) * SPREAD
    trace, norm = noise_moments(many / SPREAD, torch.ones(40000, dtype=torch.float64))
    # standard errors: 0.4% and 1%
    assert float(trace / norm) == pytest.approx(3 / float((MEAN / SPREAD).square().sum()), rel=0.05)


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
