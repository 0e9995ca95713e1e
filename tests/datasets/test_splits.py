"""Splits are disjoint, of the sizes asked for, and hold each class in its share."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from critbatch.datasets.splits import sixty_twenty_twenty, standardise, stratified
from critbatch.randomness import generator


@given(st.lists(st.integers(0, 3), min_size=3, max_size=60), st.data())
def test_parts_are_disjoint_and_of_their_sizes(labels, data):
    first = data.draw(st.integers(0, len(labels)))
    second = data.draw(st.integers(0, len(labels) - first))
    parts = stratified(torch.tensor(labels), (first, second), generator(0, "split"))
    assert [len(part) for part in parts] == [first, second]
    assert len(torch.cat(parts).unique()) == first + second


def test_each_part_holds_each_class_in_its_share():
    labels = torch.arange(1000).remainder(7).clamp(max=3)
    for part in stratified(labels, (500, 300, 200), generator(0, "split")):
        shares = torch.bincount(labels[part]) / len(part)
        assert (shares - torch.bincount(labels) / 1000).abs().max() <= 2 / len(part)


def test_a_split_repeats_and_follows_its_generator():
    labels = torch.arange(100) % 2
    first, again, other = (stratified(labels, [50], generator(seed, "split"))[0] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first.sort().values, other.sort().values)


def test_more_than_there_is_cannot_be_split():
    with pytest.raises(ValueError, match=r"`stratified\(sizes=\(3, 2\)\)`: needs 5 of 4 examples"):
        stratified(torch.zeros(4, dtype=torch.int64), (3, 2), generator(0, "split"))


@given(st.integers(3, 10_000))
def test_sixty_twenty_twenty_uses_every_example(count):
    train, validation, test = sixty_twenty_twenty(count)
    assert train + validation + test == count
    assert validation == test
    assert abs(train - 0.6 * count) <= 1


def test_standardising_leaves_a_constant_column_at_zero():
    values = torch.tensor([[1.0, 5.0], [3.0, 5.0], [7.0, 6.0]])
    assert torch.equal(standardise(values, values[:2]), torch.tensor([[-1.0, 0.0], [1.0, 0.0], [5.0, 1.0]]))
