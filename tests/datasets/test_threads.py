"""A data set is the same however many threads its sums are taken with: its fingerprint is part of every run's id."""

import contextlib
from collections.abc import Iterator

import torch

from critbatch.datasets.splits import standardise


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_standardised_values_do_not_depend_on_threads() -> None:
    values = torch.rand(784_000, generator=torch.Generator().manual_seed(1000))
    found = []
    for count in (1, 2, 3):
        with threads(count):
            found.append(standardise(values[:10], values))
            assert torch.get_num_threads() == count
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
