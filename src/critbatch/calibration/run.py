"""All checks, in order."""

import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch

from . import comparisons, curves, hardware, moments, training
from .check import Check, Scale
from .instrument import Instrument

STUDIES: dict[Scale, int] = {"quick": 50, "normal": 400, "full": 2000}
RUNS: dict[Scale, int] = {"quick": 64, "normal": 1000, "full": 4000}
LONGEST = ("training", "curves")
GROUPS: dict[str, Callable[[Instrument, Scale], Iterator[Check]]] = {
    "moments": lambda instrument, scale: moments.checks(instrument, STUDIES[scale]),
    "curves": lambda instrument, scale: curves.checks(instrument, STUDIES[scale]),
    "comparisons": lambda instrument, scale: comparisons.checks(instrument, STUDIES[scale]),
    "hardware": lambda instrument, scale: hardware.checks(instrument, STUDIES[scale]),
    "training": lambda instrument, scale: training.checks(instrument, RUNS[scale]),
}


def calibrate(
    scale: Scale = "normal", *, instrument: Instrument | None = None, kinds: tuple[str, ...] = tuple(GROUPS),
    watch: Callable[[Check], Any] = lambda check: None,
) -> list[Check]:  # fmt: skip
    """Return what the instrument makes of known truths.

    Args:
        scale: "quick" (under 20 s), "normal" (two minutes) or "full" (coverage to half a point).
        instrument: What is checked; the default is critbatch itself, its groups in several processes.
        kinds: Which groups of checks.
        watch: Called with every check as it is done.
    """
    if instrument is None and len(kinds) > 1:
        return _side_by_side(scale, kinds, watch)
    found = []
    for kind in kinds:
        for check in _group(kind, scale, instrument or Instrument()):
            watch(check)
            found.append(check)
    return found


def _group(kind: str, scale: Scale, instrument: Instrument) -> Iterator[Check]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of runs that diverge on purpose
        yield from GROUPS[kind](instrument, scale)


def _side_by_side(scale: Scale, kinds: tuple[str, ...], watch: Callable[[Check], Any]) -> list[Check]:
    """Return the checks of all groups, trained and drawn in as many processes as there are cores, in their order."""
    workers = min(len(kinds), os.cpu_count() or 1)
    found: dict[str, list[Check]] = {}
    is_free = "OMP_NUM_THREADS" not in os.environ
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read by the libraries of a process when it starts
    try:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
            longest_first = sorted(kinds, key=lambda kind: LONGEST.index(kind) if kind in LONGEST else len(LONGEST))
            waiting = {kind: pool.submit(_whole_group, kind, scale) for kind in longest_first}
            for kind, promise in waiting.items():
                found[kind] = promise.result()
                for check in found[kind]:
                    watch(check)
    finally:
        if is_free:
            del os.environ["OMP_NUM_THREADS"]
    return [check for kind in kinds for check in found[kind]]


def _whole_group(kind: str, scale: Scale) -> list[Check]:
    return list(_group(kind, scale, Instrument()))


def _one_thread() -> None:
    torch.set_num_threads(1)
