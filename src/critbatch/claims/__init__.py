"""The registry of claims: one file per source. The folder is the list."""

import functools
import importlib
import inspect
import pkgutil

from ..claim import Claim


@functools.cache
def registry() -> dict[str, Claim]:
    """Return every claim by its id, in the order of ids.

    Raises:
        TypeError: If two claims have one id.
    """
    found: dict[str, Claim] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__)):
        loaded = importlib.import_module(f".{name}", __name__)
        for _, kind in inspect.getmembers(loaded, inspect.isclass):
            if issubclass(kind, Claim) and not inspect.isabstract(kind) and kind.__module__ == loaded.__name__:
                if kind.id in found:
                    raise TypeError(f"two claims are called {kind.id}: {found[kind.id]!r} and {kind!r}.")
                found[kind.id] = kind()
    return {key: found[key] for key in sorted(found, key=_order)}


def _order(claim: str) -> tuple[str, int]:
    letters, _, number = claim.partition("-")
    return letters, int(number or 0)
