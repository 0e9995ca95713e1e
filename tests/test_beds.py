"""Test beds are what their descriptions say."""

import dataclasses

import pytest
import torch

from critbatch.bed import Bed
from critbatch.beds import build, network
from critbatch.claims import registry
from critbatch.datasets.digits import digits
from critbatch.datasets.twelve_bits import twelve_bits
from critbatch.study import task_facts
from tests.requirements import require_data

DIGITS = Bed(data="digits", train=512, hidden=(16,), side=8)


def built(**changes):
    return build(dataclasses.replace(DIGITS, **changes))


def test_smaller_sets_are_parts_of_larger_ones():
    small, large = built(train=256), built(train=512)
    assert torch.equal(small.train.inputs, large.train.inputs[:256])
    assert torch.equal(small.test.inputs, large.test.inputs)
    assert small.train.targets.bincount(minlength=10).float().std() < 3  # stratified


def test_in_order_takes_the_first_as_they_lie():
    whole = digits().train
    assert torch.equal(built(in_order=True).train.inputs, whole.inputs[:512])
    assert not torch.equal(built().train.inputs, whole.inputs[:512])


@pytest.mark.parametrize("in_order", [False, True])
def test_twelve_bits_lie_as_the_bed_says(in_order):
    require_data()
    made = build(Bed(data="twelve-bits", train=100, side=0, hidden=(4,), in_order=in_order))
    wanted = twelve_bits(train=100, in_order=in_order).train
    numbers = [one.inputs @ 2.0 ** torch.arange(12) for one in (made.train, wanted)]
    assert torch.equal(numbers[0], numbers[1]) == in_order  # else of a stratified order
    assert torch.equal(*(one.sort().values for one in numbers))


def test_copies_repeat_every_example():
    once, thrice = built(), built(copies=3)
    assert torch.equal(thrice.train.inputs, torch.cat([once.train.inputs] * 3))
    assert torch.equal(thrice.train.targets, torch.cat([once.train.targets] * 3))


def test_random_labels_are_that_many_and_always_the_same():
    plain, noisy = built(), built(random_labels=0.5)
    changed = (plain.train.targets != noisy.train.targets).float().mean()
    assert 0.38 < changed < 0.5  # a tenth of those drawn anew are what they were
    assert torch.equal(noisy.train.targets, built(random_labels=0.5).train.targets)
    assert torch.equal(plain.test.targets, noisy.test.targets)


def test_only_the_first_classes():
    assert built(train=200, classes=5).train.targets.max() == 4


def test_losses():
    task, smooth = built(), built(label_smoothing=0.1)
    outputs, targets = torch.randn(6, 10, dtype=torch.float64), torch.arange(6)
    log_p = outputs.log_softmax(-1)
    hard = -log_p[torch.arange(6), targets]
    assert torch.allclose(task.losses(outputs, targets), hard)
    assert torch.allclose(smooth.losses(outputs, targets), 0.9 * hard - 0.1 * log_p.mean(-1))
    one_hot = torch.eye(10, dtype=torch.float64)[targets]
    assert torch.allclose(built(loss="squared_error").losses(outputs, targets), ((outputs - one_hot) ** 2 / 2).mean(-1))


def test_models():
    assert sum(one.numel() for one in network((196, 64, 10), "relu", "none").parameters()) == 13_258
    assert len(list(network((8, 10), "relu", "none").parameters())) == 2
    names = [type(one).__name__ for one in network((8, 4, 2), "sigmoid", "ghost-4")]
    assert names == ["Flatten", "Linear", "GhostBatchNorm", "Sigmoid", "Linear"]
    with pytest.raises(ValueError, match="unknown"):
        network((8, 4, 2), "swish", "none")


@pytest.mark.parametrize("bed", [Bed(data="nothing"), dataclasses.replace(DIGITS, train=5000)])
def test_what_is_not_there_is_refused(bed):
    with pytest.raises(ValueError, match="Bed"):
        build(bed)


def test_every_bed_has_a_name_of_its_own():
    beds = {bed for claim in registry().values() for scale in ("smoke", "full") for bed in claim.beds(scale).values()}
    assert len({bed.name for bed in beds}) == len(beds)


def test_facts_known_beforehand_are_those_of_the_task():
    require_data()
    for bed in (Bed(), DIGITS, Bed(data="fashion-mnist", train=500)):
        known, real = bed.facts(), task_facts(build(bed), None)
        for name in ("name", "train_size", "test_size", "validation_size", "metric", "better", "selection_split"):
            assert getattr(known, name) == getattr(real, name), name


def test_a_linear_model_can_be_without_bias_and_start_at_the_origin():
    model = built(hidden=(), bias=False, start=0.0).initialise(0)
    (weights,) = model.parameters()
    assert weights.shape == (10, 64)
    assert not weights.any()


def test_the_start_is_the_usual_one_times_a_number_and_examples_stay():
    usual, half = built(), built(start=0.5)
    for one, other in zip(usual.initialise(3).parameters(), half.initialise(3).parameters(), strict=True):
        assert torch.equal(one * 0.5, other)
    assert torch.equal(usual.train.inputs, half.train.inputs)


def test_new_fields_leave_names_as_they_were_and_a_network_keeps_its_bias():
    assert dataclasses.replace(DIGITS).name == "digits-512 16"
    assert dataclasses.replace(DIGITS, hidden=(), bias=False, start=0.0).name == "digits-512 linear bias-False start-0"
    with pytest.raises(ValueError, match="only a linear model"):
        network((8, 4, 2), "relu", "none", bias=False)
