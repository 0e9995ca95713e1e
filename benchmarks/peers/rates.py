"""What the core can do at most: the rate of matrix products, and of reading and writing memory near it."""

from collections.abc import Callable

import torch

from ..answering import Spent, Trial, answer, timed
from ..workloads import BYTES, Workload

SHAPES = ((128, 784, 128), (256, 256, 256), (512, 512, 512), (1024, 784, 128))
SIZES = (16_384, 65_536, 262_144)  # numbers in each of the three arrays of a triad
REPEATS = 3  # the fastest counts


def gemm(workload: Workload, batch_size: int) -> Trial:
    """Return a trial whose "update" is one floating point operation of the fastest of a few matrix products."""
    torch.set_num_threads(1)
    pairs = [(torch.rand(rows, inner), torch.rand(inner, columns)) for rows, inner, columns in SHAPES]
    outs = [left @ right for left, right in pairs]

    def product(index: int) -> Spent:
        left, right = pairs[index]
        work = timed(lambda count: _repeat(count, lambda: torch.mm(left, right, out=outs[index])))
        spent = work(8)
        return Spent(spent.updates * 2 * left.numel() * right.shape[1], spent.seconds)

    return Trial(lambda _: _fastest([product(index) for index in range(len(SHAPES)) for _ in range(REPEATS)]))


def triad(workload: Workload, batch_size: int) -> Trial:
    """Return a trial whose "update" is one byte read or written by the fastest of a few triads, c = a + 2 b."""
    torch.set_num_threads(1)
    arrays = [[torch.rand(size) for _ in range(3)] for size in SIZES]

    def sweep(index: int) -> Spent:
        left, right, out = arrays[index]
        spent = timed(lambda count: _repeat(count, lambda: torch.add(left, right, alpha=2, out=out)))(200)
        return Spent(spent.updates * 3 * BYTES * SIZES[index], spent.seconds)

    return Trial(lambda _: _fastest([sweep(index) for index in range(len(SIZES)) for _ in range(REPEATS)]))


def _repeat(count: int, work: Callable[[], object]) -> int:
    for _ in range(count):
        work()
    return count


def _fastest(found: list[Spent]) -> Spent:
    return min(found, key=lambda spent: spent.seconds / spent.updates)


if __name__ == "__main__":
    answer({"gemm": gemm, "triad": triad}, ("torch",))
