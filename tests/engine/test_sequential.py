"""The reference engine against a loop written by hand, and what it promises about endings, memory and looking."""

import copy

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn
from torch.nn import functional

from critbatch.budgets.epochs import Epochs
from critbatch.budgets.examples import Examples
from critbatch.budgets.longest import Longest
from critbatch.budgets.seconds import Seconds
from critbatch.budgets.steps import Steps
from critbatch.data import Examples as ExampleSet
from critbatch.engine.sequential import gradient, train_run
from critbatch.measurements.noise_moments import NoiseMoments
from critbatch.optimizers.adam import Adam
from critbatch.optimizers.adamw import AdamW
from critbatch.optimizers.sgd import SGD
from critbatch.randomness import seed_of
from critbatch.record import Ending
from critbatch.sampling import LastBatch
from critbatch.samplings.reshuffle import Reshuffle
from critbatch.schedules.cosine import Cosine
from critbatch.schedules.linear import Linear
from critbatch.task import Target
from tests.problems import MODELS, blob_task, regression_task, run_of

CPU = torch.device("cpu")
OPTIMIZERS = {
    "sgd": (SGD(), lambda p: torch.optim.SGD(p, 0.125)),
    "momentum": (SGD(momentum=0.9), lambda p: torch.optim.SGD(p, 0.125, momentum=0.9)),
    "nesterov": (
        SGD(momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda p: torch.optim.SGD(p, 0.125, momentum=0.9, nesterov=True, weight_decay=0.01),
    ),
    "adam": (Adam(weight_decay=0.01), lambda p: torch.optim.Adam(p, 0.125, weight_decay=0.01)),
    "adamw": (AdamW(beta2=0.95), lambda p: torch.optim.AdamW(p, 0.125, betas=(0.9, 0.95), weight_decay=0.01)),
}


def hand_written_losses(task, optimizer, *, batch_size: int, steps: int, seed: int, decay=lambda step: 1.0):
    """Return the training loss of each step of the loop anybody would write."""
    torch.default_generator.manual_seed(seed_of(seed, "initialisation"))
    model = task.model()
    optimizer = optimizer(model.parameters())
    torch.default_generator.manual_seed(seed_of(seed, "forward"))
    losses, epoch = [], 0
    while True:
        order = torch.randperm(96, generator=torch.Generator().manual_seed(seed_of(seed, "order", epoch)))
        for start in range(0, 96 - batch_size + 1, batch_size):
            batch = order[start : start + batch_size]
            optimizer.param_groups[0]["lr"] = 0.125 * decay(len(losses))
            loss = functional.cross_entropy(model(task.train.inputs[batch]), task.train.targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == steps:
                return model, losses
        epoch += 1


def final(result, quantity: str) -> float:
    rows = result.records.filter((pl.col("quantity") == quantity) & (pl.col("step") == result.steps))
    return rows["value"].item()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_engine_is_the_hand_written_loop_bit_for_bit(name, model):
    task = blob_task(MODELS[model])
    ours, theirs = OPTIMIZERS[name]
    with torch.random.fork_rng():
        trained, _ = hand_written_losses(task, theirs, batch_size=8, steps=200, seed=3)
    result = train_run(task, run_of(task, optimizer=ours, seed=3, budget=Steps(200)), CPU)
    trained.eval()
    with torch.no_grad():
        loss = functional.cross_entropy(trained(task.test.inputs), task.test.targets, reduction="none")
    assert result.steps == 200
    assert final(result, "test_loss") == loss.sum(dtype=torch.float64).item() / 300


@pytest.mark.parametrize("schedule", [Cosine(), Linear(final=0.1, warmup=0.25)])
def test_schedules_scale_the_learning_rate_by_the_fraction_of_the_budget(schedule):
    task = blob_task()
    with torch.random.fork_rng():
        trained, _ = hand_written_losses(
            task, OPTIMIZERS["sgd"][1], batch_size=8, steps=60, seed=0, decay=lambda step: schedule.factor(step / 60)
        )
    result = train_run(task, run_of(task, schedule=schedule, budget=Steps(60)), CPU)
    with torch.no_grad():
        loss = functional.cross_entropy(trained(task.test.inputs), task.test.targets, reduction="none")
    assert final(result, "test_loss") == loss.sum(dtype=torch.float64).item() / 300


@pytest.mark.parametrize("size", [1, 3, 4, 8])
def test_micro_batches_give_the_gradient_of_the_whole_batch(size):
    task = blob_task()
    batch = ExampleSet(task.train.inputs[:8].double(), task.train.targets[:8])
    gradients = []
    for micro in (8, size):
        model = task.initialise(0).double()
        gradient(task, model, torch.optim.SGD(model.parameters(), 0.1), batch, micro)
        gradients.append(torch.cat([one.grad.flatten() for one in model.parameters()]))
    # identity: the same sum in another order
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-12, atol=1e-14)


def test_micro_batches_train_like_whole_batches():
    task = blob_task()
    whole, split = (
        train_run(task, run_of(task, dtype="float64", micro_batch_size=size, budget=Steps(100)), CPU) for size in (8, 3)
    )
    assert final(split, "test_loss") == pytest.approx(final(whole, "test_loss"), rel=1e-10)


@pytest.mark.parametrize("optimizer", [SGD(), SGD(weight_decay=0.5), Adam()])
def test_a_smaller_last_batch_takes_a_step_in_proportion_to_its_share(optimizer):
    task = blob_task(l2=0.1)
    order = torch.randperm(96, generator=torch.Generator().manual_seed(seed_of(0, "order", 0)))
    model = task.initialise(0).double()
    by_hand = optimizer.build(model.parameters(), 0.125)
    for batch, share in ((order[:64], 1.0), (order[64:], 0.5)):
        by_hand.param_groups[0]["lr"] = 0.125 * share
        loss = functional.cross_entropy(model(task.train.inputs[batch].double()), task.train.targets[batch])
        by_hand.zero_grad()
        (loss + 0.05 * sum(one.square().sum() for one in model.parameters())).backward()
        by_hand.step()
    changes = {"batch_size": 64, "sampling": Reshuffle(LastBatch.WEIGHT), "budget": Epochs(1), "dtype": "float64"}
    result = train_run(task, run_of(task, optimizer=optimizer, **changes), CPU)
    with torch.no_grad():
        loss = functional.cross_entropy(model(task.test.inputs.double()), task.test.targets).item()
    assert (result.steps, result.examples) == (2, 96)
    assert final(result, "test_loss") == pytest.approx(loss, rel=1e-12)


def test_a_dropped_last_batch_is_not_seen():
    task = blob_task()
    result = train_run(task, run_of(task, batch_size=64, sampling=Reshuffle(LastBatch.DROP), budget=Steps(4)), CPU)
    assert (result.steps, result.examples) == (4, 256)


@pytest.mark.parametrize("model", MODELS)
def test_measuring_leaves_training_alone(model):
    task = blob_task(MODELS[model])
    plain = train_run(task, run_of(task, budget=Steps(50)), CPU)
    measured = train_run(task, run_of(task, budget=Steps(50), measurements=(NoiseMoments(examples=64),)), CPU)
    assert final(measured, "test_loss") == final(plain, "test_loss")
    assert "gradient_covariance_trace" in measured.records["quantity"]


def test_training_leaves_the_global_random_state_alone():
    task = blob_task(MODELS["dropout"])
    before = torch.get_rng_state()
    train_run(task, run_of(task), CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_is_the_same_whatever_ran_before():
    task = blob_task(MODELS["dropout"])
    first = train_run(task, run_of(task), CPU)
    torch.rand(7)
    train_run(task, run_of(task, seed=5), CPU)
    assert final(train_run(task, run_of(task), CPU), "test_loss") == final(first, "test_loss")


def test_runs_of_one_seed_start_alike_whatever_the_batch_size():
    task = blob_task()
    runs = [run_of(task, batch_size=size, learning_rate=rate) for size, rate in ((1, 0.5), (96, 0.01))]
    first = [train_run(task, run, CPU).records.filter(pl.col("step") == 0)["value"].to_list() for run in runs]
    assert first[0] == first[1]
    other = train_run(task, run_of(task, seed=1), CPU).records.filter(pl.col("step") == 0)["value"].to_list()
    assert first[0] != other


@pytest.mark.parametrize(
    ("budget", "steps"), [(Epochs(2), 24), (Steps(7), 7), (Examples(100), 13), (Longest((Epochs(1), Steps(20))), 20)]
)
def test_a_budget_ends_a_run(budget, steps):
    task = blob_task()
    result = train_run(task, run_of(task, budget=budget), CPU)
    assert (result.ending, result.steps, result.examples) == (Ending.BUDGET, steps, steps * 8)
    assert steps <= budget.most_steps(8, 96)


def test_a_budget_of_seconds_ends_a_run():
    task = blob_task()
    result = train_run(task, run_of(task, budget=Seconds(0.05)), CPU)
    assert result.ending is Ending.BUDGET
    assert result.seconds >= 0.05


def test_divergence_is_an_ending_and_keeps_what_was_seen():
    task = regression_task()
    result = train_run(task, run_of(task, learning_rate=100.0, budget=Steps(500)), CPU)
    assert result.ending is Ending.DIVERGED
    assert result.steps < 500
    assert len(result.records)


def test_a_run_with_a_target_ends_there():
    task = blob_task()
    target = Target("validation_accuracy", 0.7, "above")
    result = train_run(task, run_of(task, target=target, budget=Steps(2000)), CPU)
    assert result.ending is Ending.TARGET
    assert 0 < result.steps < 2000
    last = result.records.filter(pl.col("quantity") == "validation_accuracy")["value"][-1]
    assert last >= 0.7


class Hungry(nn.Module):
    """Runs out of memory on more than `most` examples at a time; counts how often."""

    def __init__(self, inner: nn.Module, most: int, error: type[Exception]) -> None:
        super().__init__()
        self.inner, self.most, self.error = inner, most, error

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = self.inner(inputs)
        if self.training and len(inputs) > self.most:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 TB")
        return outputs


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_running_out_of_memory_halves_the_micro_batch_and_never_the_batch(error):
    plain = blob_task()
    hungry = blob_task(lambda: Hungry(MODELS["mlp"](), 3, error))
    result = train_run(hungry, run_of(hungry, dtype="float64"), CPU)
    expected = train_run(plain, run_of(plain, dtype="float64", micro_batch_size=2), CPU)
    assert result.ending is Ending.BUDGET
    assert "micro-batches of 2 instead of 8" in result.note
    assert result.examples == 20 * 8
    assert final(result, "test_loss") == final(expected, "test_loss")


def test_a_step_that_ran_out_of_memory_is_done_again_exactly():
    task = blob_task(lambda: Hungry(MODELS["dropout"](), 4, MemoryError))
    reference = blob_task(MODELS["dropout"])
    once = train_run(task, run_of(task, budget=Steps(1), dtype="float64"), CPU)
    straight = train_run(reference, run_of(reference, budget=Steps(1), dtype="float64", micro_batch_size=4), CPU)
    assert final(once, "test_loss") == final(straight, "test_loss")


def test_not_even_one_example_fitting_is_infeasible():
    task = blob_task(lambda: Hungry(MODELS["mlp"](), 0, MemoryError))
    result = train_run(task, run_of(task), CPU)
    assert result.ending is Ending.INFEASIBLE
    assert "one example at a time does not fit" in result.note


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    class Broken(nn.Linear):
        def forward(self, input):
            if self.training:
                raise RuntimeError("shape mismatch")
            return super().forward(input)

    task = blob_task(lambda: Broken(4, 3))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        train_run(task, run_of(task), CPU)


def test_records_are_log_spaced_and_bounded():
    task = blob_task()
    result = train_run(task, run_of(task, budget=Steps(3000), batch_size=96), CPU)
    steps = result.records.filter(pl.col("quantity") == "train_loss")["step"].to_numpy()
    assert len(steps) <= 200
    assert steps[0] == 0
    assert steps[-1] == 3000
    late = steps[steps > 100]
    assert np.all(late[1:-1] / late[:-2] < 1.12)


def test_the_objective_includes_the_penalty():
    task = blob_task(l2=0.5, metric=None, target=None)
    run = run_of(task, dtype="float64", budget=Steps(1), batch_size=96, learning_rate=0.1)
    model = copy.deepcopy(task.initialise(0)).double()
    loss = task.losses(model(task.train.inputs.double()), task.train.targets).mean()
    loss = loss + 0.25 * sum(one.square().sum() for one in model.parameters())
    loss.backward()
    with torch.no_grad():
        for one in model.parameters():
            one -= 0.1 * one.grad
        after = task.losses(model(task.train.inputs.double()), task.train.targets).mean().item()
        squares = sum(float(one.square().sum()) for one in model.parameters())
    result = train_run(task, run, CPU)
    assert final(result, "train_loss") == pytest.approx(after, rel=1e-12)
    assert final(result, "train_objective") == pytest.approx(after + 0.25 * squares, rel=1e-12)
