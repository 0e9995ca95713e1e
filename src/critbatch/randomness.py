"""Random streams: every draw of a run comes from a generator named by seed, purpose and path; sums in one order."""

import contextlib
import hashlib
from collections.abc import Iterator

import torch


def seed_of(seed: int, purpose: str, *path: int) -> int:
    """Return a 63-bit seed that depends on every argument and on nothing else.

    Streams of different purposes are independent, so that measuring never moves the data order, and runs that share
    `seed` share initialisation and order whatever their batch size or learning rate (common random numbers).

    Args:
        seed: The run's seed.
        purpose: What the stream is for, for example "initialisation" or "order".
        path: Further coordinates, for example the epoch.

    Returns:
        An integer in [0, 2**63).
    """
    text = "/".join([purpose, str(seed), *map(str, path)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, purpose: str, *path: int) -> torch.Generator:
    """Return a fresh CPU generator for the stream named by `seed`, `purpose` and `path` (see `seed_of`)."""
    return torch.Generator().manual_seed(seed_of(seed, purpose, *path))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread inside, as worker processes do: the last bit of a long sum depends on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
