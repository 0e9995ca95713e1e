"""The registry of claims: one file per source. The folder is the list."""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Sequence
from typing import Any

from ..claim import Claim, Exhibit, verdict_json


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


def judge_sweep(exhibit: Exhibit, open_ends: Sequence[int]) -> tuple[dict[str, Any], ...]:
    """Return the verdicts of the claims that any plain sweep is evidence for, as JSON types.

    Args:
        exhibit: Of the sweep: see `critbatch.judging.sweep`.
        open_ends: Batch sizes whose best learning rate may lie outside of those tried, which a note then says.
    """
    found = [verdict_json(one.judge(exhibit), one) for one in registry().values() if one.reads_sweep]
    if open_ends:
        note = f"the best learning rate of batch size {', '.join(map(str, open_ends))} may lie outside of those tried"
        found = [one | {"notes": [*one["notes"], note]} for one in found]
    return tuple(found)


def _order(claim: str) -> tuple[str, int]:
    letters, _, number = claim.partition("-")
    return letters, int(number or 0)
