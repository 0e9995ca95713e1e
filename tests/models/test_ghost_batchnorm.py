"""Conversion to ghost batch normalisation, in one to three dimensions."""

import copy

import pytest
import torch
from torch import nn

import critbatch as cb
from critbatch.budgets.steps import Steps
from critbatch.engine.population import train
from critbatch.engine.sequential import train as train_plainly
from critbatch.optimizers.sgd import SGD
from critbatch.randomness import generator
from tests.problems import run_of

GHOST = 4
SHAPES = {nn.BatchNorm1d: (6,), nn.BatchNorm2d: (6, 3, 5), nn.BatchNorm3d: (6, 2, 3, 2)}
OPTIONS = [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}, {"eps": 0.1, "momentum": 0.3}]


def draw(shape, count=3 * GHOST, seed=0):
    return 3 * torch.randn(count, *shape, generator=generator(seed, "draws"), dtype=torch.float64) + 1


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("is_training", [True, False])
def test_a_converted_layer_is_batchnorm_of_each_chunk(kind, options, is_training):
    plain = kind(6, **options).double().train(is_training)
    for one in plain.parameters():
        nn.init.uniform_(one, 0.5, 2.0)
    ghost = cb.ghost_batchnorm(plain, GHOST)
    assert isinstance(ghost, cb.GhostBatchNorm)
    inputs = draw(SHAPES[kind]).requires_grad_()
    twin = inputs.detach().clone().requires_grad_()
    chunks = [copy.deepcopy(plain) for _ in range(3)]
    parts = torch.cat([one(part) for one, part in zip(chunks, twin.split(GHOST), strict=True)])
    weights = draw(SHAPES[kind], seed=1)
    (ghost(inputs) * weights).sum().backward()
    (parts * weights).sum().backward()
    torch.testing.assert_close(ghost(inputs.detach()), parts.detach(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(inputs.grad, twin.grad, rtol=1e-9, atol=1e-9)
    for name, one in ghost.named_parameters():
        torch.testing.assert_close(one.grad, sum(dict(chunk.named_parameters())[name].grad for chunk in chunks))


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize("momentum", [None, 0.3])
def test_running_statistics_move_by_the_mean_over_the_chunks(kind, momentum):
    plain = kind(6, momentum=momentum).double()
    ghost = cb.ghost_batchnorm(plain, GHOST)
    for seed in range(3):
        inputs = draw(SHAPES[kind], seed=seed)
        chunks = [copy.deepcopy(plain) for _ in range(3)]
        for one, part in zip(chunks, inputs.split(GHOST), strict=True):
            one(part)
        ghost(inputs)
        with torch.no_grad():
            for name in ("running_mean", "running_var"):
                getattr(plain, name).copy_(sum(getattr(one, name) for one in chunks) / 3)
            plain.num_batches_tracked.add_(1)
        torch.testing.assert_close(ghost.running_mean, plain.running_mean)
        torch.testing.assert_close(ghost.running_var, plain.running_var)


def nested() -> nn.Module:
    inside = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(inside, nn.Flatten(), nn.Linear(4 * 9, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))


def test_every_batchnorm_of_a_model_is_converted_in_a_copy():
    model = nested().double().eval()
    before = copy.deepcopy(model.state_dict())
    found = cb.ghost_batchnorm(model, 8)
    assert [type(one).__name__ for one in found.modules()].count("GhostBatchNorm") == 2
    assert "GhostBatchNorm" not in repr(model)
    assert not found.training
    assert found.state_dict().keys() == before.keys()
    with torch.no_grad():
        found[2].weight.add_(1.0)
    assert torch.equal(model[2].weight, before["2.weight"])
    inputs = draw((2, 5, 5), 16)
    with torch.no_grad():
        found[2].weight.sub_(1.0)
    torch.testing.assert_close(found(inputs), model(inputs))


def test_what_cannot_be_converted_is_refused():
    with pytest.raises(ValueError, match="has no BatchNorm1d, 2d or 3d"):
        cb.ghost_batchnorm(nn.Linear(2, 2), 4)
    with pytest.raises(ValueError, match="1: SyncBatchNorm and lazy layers"):
        cb.ghost_batchnorm(nn.Sequential(nn.Linear(2, 2), nn.SyncBatchNorm(2)), 4)
    with pytest.raises(ValueError, match="ghost_size=1"):
        cb.ghost_batchnorm(nested(), 1)
    with pytest.raises(ValueError, match=r"got the shape \(3,\)"):
        cb.GhostBatchNorm(3, 2)(torch.zeros(3))


def images() -> cb.Task:
    inputs = draw((2, 5, 5), 64).float()
    targets = (inputs.mean((1, 2, 3)) > 1).long()
    return cb.Task(
        name="ghost images", model=lambda: cb.ghost_batchnorm(nested(), 8), train=(inputs, targets), test=(inputs[:16], targets[:16]),
        loss="cross_entropy", metric="accuracy",
    )  # fmt: skip


def test_a_network_of_images_trains_in_the_engine_as_in_the_plain_loop():
    task = images()
    runs = tuple(
        run_of(task, batch_size=16, seed=seed, optimizer=SGD(), budget=Steps(20), dtype="float64") for seed in range(2)
    )
    plain = train_plainly({task.name: task}, runs)
    together = train({task.name: task}, runs, engine="population")
    for one, other in zip(plain, together, strict=True):
        assert one.ending == other.ending
        first, second = (found.records.sort("quantity", "step")["value"].to_numpy() for found in (one, other))
        assert abs(first - second).max() < 1e-9
