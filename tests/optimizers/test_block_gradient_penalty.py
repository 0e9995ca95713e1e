"""The penalty on blocks' gradients: its exact gradient on quadratics, clipping, the sampling that it needs."""

import pytest
import torch

from critbatch.optimizers.block_gradient_penalty import BlockGradientPenalty
from critbatch.randomness import generator
from critbatch.samplings.repeated_partition import RepeatedPartition

DOUBLE = torch.float64


def blocks_of(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    draw = torch.Generator().manual_seed(0)
    factors = [torch.randn(5, 5, generator=draw, dtype=DOUBLE) for _ in range(count)]
    return [(one @ one.T, torch.randn(5, generator=draw, dtype=DOUBLE)) for one in factors]


def moved(rule: BlockGradientPenalty, blocks: list[tuple[torch.Tensor, torch.Tensor]], rate: float) -> torch.Tensor:
    point = torch.nn.Parameter(torch.ones(5, dtype=DOUBLE))
    built = rule.build([point], rate)
    for matrix, shift in blocks:
        for _ in range(2):
            point.grad = matrix @ point.detach() + shift
            built.step()
    return point.detach() - 1


@pytest.mark.parametrize("strength", [0.0, 0.3])
@pytest.mark.parametrize("most", [None, 0.25, 1e6])
def test_a_cycle_goes_down_the_penalised_loss_by_autograd(strength, most):
    # on quadratics forward differences are exact
    blocks = blocks_of(3)
    point = torch.ones(5, dtype=DOUBLE, requires_grad=True)
    total = torch.zeros((), dtype=DOUBLE)
    for matrix, shift in blocks:
        loss = point @ matrix @ point / 2 + shift @ point
        (gradient,) = torch.autograd.grad(loss, point, create_graph=True)
        total = total + (loss + strength / 2 * gradient.square().sum()) / 3
    (wanted,) = torch.autograd.grad(total, point)
    wanted = wanted if most is None else wanted * min(1.0, most / float(wanted.norm()))
    found = moved(BlockGradientPenalty(blocks=3, strength=strength, length=0.05, most=most), blocks, 0.01)
    torch.testing.assert_close(found, -0.01 * wanted, rtol=1e-8, atol=1e-12)


def test_the_order_of_blocks_does_not_matter():
    blocks, rule = blocks_of(4), BlockGradientPenalty(blocks=4, strength=0.3)
    torch.testing.assert_close(moved(rule, blocks, 0.01), moved(rule, blocks[::-1], 0.01), rtol=1e-9, atol=1e-12)


def test_the_sampling_gives_the_same_blocks_in_every_epoch_and_each_so_often_in_a_row():
    epochs = [
        list(
            RepeatedPartition(3).epoch(
                96, 20, order=generator(0, "order", number), base=generator(0, "order base"), number=number
            )
        )
        for number in range(2)
    ]
    for batches in epochs:
        assert [len(one) for one in batches] == [20] * 12
        assert all(torch.equal(one, batches[at - at % 3]) for at, one in enumerate(batches))
        assert len(set(torch.cat(batches[::3]).tolist())) == 80
    one, other = ([tuple(batch.tolist()) for batch in batches[::3]] for batches in epochs)
    assert set(one) == set(other)
    assert one != other


def test_what_makes_no_sense_is_refused():
    for bad in ({"strength": -0.1}, {"length": 0.0}, {"most": 0.0}, {"blocks": 0}):
        with pytest.raises(ValueError, match="BlockGradientPenalty"):
            BlockGradientPenalty(**bad)
    with pytest.raises(ValueError, match="whole number, at least 1"):
        RepeatedPartition(0)
