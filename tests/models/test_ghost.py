"""Ghost batch normalisation: BatchNorm of each group by itself, running statistics, and training in the engine."""

import copy

import pytest
import torch
from torch import nn

from critbatch.budgets.steps import Steps
from critbatch.engine.population import train
from critbatch.models.ghost import GhostBatchNorm
from critbatch.models.mlp import mlp
from critbatch.noise import has_batch_norm
from critbatch.optimizers.sgd import SGD
from critbatch.randomness import generator
from tests.engine.by_hand import assert_alike
from tests.problems import blob_task, run_of

FEATURES, GHOST = 5, 6
ROUNDING = 1e-12  # float64


def draw(count: int, seed: int = 0) -> torch.Tensor:
    scale = torch.tensor([1.0, 3.0, 0.1, 10.0, 1.0], dtype=torch.float64)
    return torch.randn(count, FEATURES, generator=generator(seed, "ghosts"), dtype=torch.float64) * scale + 2


def layers() -> tuple[GhostBatchNorm, nn.BatchNorm1d]:
    """Return a ghost layer and torch's BatchNorm, both with the same weights, none of them 0 or 1."""
    ghost, plain = GhostBatchNorm(FEATURES, GHOST).double(), nn.BatchNorm1d(FEATURES).double()
    with torch.no_grad():
        ghost.weight.copy_(torch.linspace(0.5, 2, FEATURES))
        ghost.bias.copy_(torch.linspace(-1, 1, FEATURES))
    plain.load_state_dict(ghost.state_dict())
    return ghost, plain


def assert_close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=ROUNDING, atol=ROUNDING)


def test_in_training_each_group_is_normalised_by_itself():
    ghost, plain = layers()
    inputs = draw(4 * GHOST)
    assert_close(ghost(inputs), torch.cat([plain(part) for part in inputs.split(GHOST)]))
    assert not torch.allclose(ghost(inputs), plain(inputs))


def test_gradients_are_those_of_the_groups():
    grads = []
    for forward in (
        lambda one, _, inputs: one(inputs),
        lambda _, one, inputs: torch.cat([*map(one, inputs.split(GHOST))]),
    ):
        ghost, plain = layers()
        inputs = draw(3 * GHOST).requires_grad_()
        outputs = forward(ghost, plain, inputs)
        (outputs * draw(3 * GHOST, 1)).sum().backward()
        layer = ghost if ghost.weight.grad is not None else plain
        grads.append((inputs.grad, layer.weight.grad, layer.bias.grad))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_running_statistics_move_once_a_batch_by_the_mean_over_the_groups():
    ghost, _ = layers()
    first, second = draw(2 * GHOST), draw(3 * GHOST, 1)
    ghost(first), ghost(second)
    mean, variance = torch.zeros(FEATURES, dtype=torch.float64), torch.ones(FEATURES, dtype=torch.float64)
    for inputs in (first, second):
        groups = inputs.split(GHOST)
        mean = 0.9 * mean + 0.1 * torch.stack([one.mean(0) for one in groups]).mean(0)
        variance = 0.9 * variance + 0.1 * torch.stack([one.var(0) for one in groups]).mean(0)
    assert_close(ghost.running_mean, mean)
    assert_close(ghost.running_var, variance)
    assert int(ghost.num_batches_tracked) == 2


def test_in_evaluation_it_is_batch_norm_and_remembers_nothing():
    ghost, plain = layers()
    ghost(draw(2 * GHOST))
    plain.load_state_dict(ghost.state_dict())
    before = copy.deepcopy(ghost.state_dict())
    ghost.eval(), plain.eval()
    inputs = draw(4 * GHOST, 1)
    assert torch.equal(ghost(inputs), plain(inputs))
    assert all(torch.equal(value, before[name]) for name, value in ghost.state_dict().items())


@pytest.mark.parametrize("count", [GHOST - 1, GHOST, GHOST + 1, 3 * GHOST - 1])
def test_a_batch_of_no_whole_groups_is_normalised_as_one(count):
    ghost, plain = layers()
    inputs = draw(count)
    assert torch.equal(ghost(inputs), plain(inputs))
    assert torch.equal(ghost.running_var, plain.running_var)


def test_a_group_of_one_example_is_refused():
    with pytest.raises(ValueError, match=r"`GhostBatchNorm\(ghost_size=1\)`: a group needs two examples"):
        GhostBatchNorm(3, 1)


def test_it_counts_as_batch_normalisation_and_its_ghost_size_is_part_of_a_task():
    def model(size: int) -> nn.Module:
        return mlp((4, 8, 3), normalisation=lambda width: GhostBatchNorm(width, size))

    assert has_batch_norm(model(16))
    one, other = (blob_task(lambda size=size: model(size)) for size in (16, 32))
    assert one.revision != other.revision


def test_the_engine_compiles_it_and_has_the_plain_loops_numbers():
    task = blob_task(lambda: mlp((4, 8, 3), normalisation=lambda width: GhostBatchNorm(width, 16)))
    rule = SGD(momentum=0.9, nesterov=True, weight_decay=0.1)
    runs = tuple(
        run_of(task, batch_size=48, seed=seed, optimizer=rule, learning_rate=0.02, budget=Steps(12), dtype="float64")
        for seed in (0, 1)
    )
    compiled, plain = (train({task.name: task}, runs, engine=engine) for engine in ("population", "sequential"))
    assert [one.note for one in compiled] == ["", ""]  # else it says which slower tier was used, and why
    assert_alike(compiled, plain, 1e-10)
