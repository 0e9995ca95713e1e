"""All checks, in order."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from . import comparisons, curves, hardware, moments, training
from .check import Check, Scale
from .instrument import Instrument

STUDIES: dict[Scale, int] = {"quick": 50, "normal": 400, "full": 2000}
RUNS: dict[Scale, int] = {"quick": 64, "normal": 1000, "full": 4000}
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
        instrument: What is checked; the default is critbatch itself.
        kinds: Which groups of checks.
        watch: Called with every check as it is done.
    """
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of runs that diverge on purpose
        for kind in kinds:
            for check in GROUPS[kind](instrument or Instrument(), scale):
                watch(check)
                found.append(check)
    return found
