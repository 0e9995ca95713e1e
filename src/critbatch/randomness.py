"""Random streams: every draw of a run comes from a generator named by seed, purpose and path."""

import hashlib

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
