"""A peer's side of the conversation: requests on stdin, answers on stdout, one JSON document a line.

A request is `{"variant": ..., "workload": ..., "batch_size": ..., "repeat": ..., "seconds": ...}`. Repeat 0 builds the
model, compiles and warms up; it answers how long that took. Every other repeat answers how long an update took.
Imports no package, so that every environment can run it.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import IO, Any, final

from .workloads import WORKLOADS, Workload

LEAST_UPDATES = 9
SEARCH_SECONDS = 30.0


class UnsupportedError(Exception):
    """This peer cannot train this workload; the message says why."""


@final
@dataclass(frozen=True)
class Spent:
    """Model updates made, and the seconds that they took."""

    updates: int
    seconds: float


@final
@dataclass(frozen=True)
class Trial:
    """A training that is ready to go on.

    Attributes:
        advance: Makes at least so many model updates and returns what they took; it waits until they are done.
        detail: What was chosen for this workload, such as the number of models trained together.
    """

    advance: Callable[[int], Spent]
    detail: str = ""


Prepare = Callable[[Workload, int], Trial]


def timed(work: Callable[[int], int]) -> Callable[[int], Spent]:
    """Return `advance` of a `Trial` for work that makes at least so many updates and returns how many it made."""

    def advance(updates: int) -> Spent:
        started = time.perf_counter()
        made = work(updates)
        return Spent(made, time.perf_counter() - started)

    return advance


def best_together(sizes: tuple[int, ...], prepare: Callable[[int], Trial]) -> Trial:
    """Return the trial with the number of models at which nine steps take least time for each model update.

    Larger numbers are not tried once one is half as slow again as the best, or the search has taken long.

    Raises:
        UnsupportedError: If there is no number to try.
    """
    best: tuple[float, Trial] | None = None
    started = time.perf_counter()
    for models in sizes:
        trial = prepare(models)
        trial.advance(models)  # compiles
        spent = trial.advance(LEAST_UPDATES * models)
        pace = spent.seconds / spent.updates
        if best is None or pace < best[0]:
            best = pace, trial
        if pace > 1.5 * best[0] or time.perf_counter() - started > SEARCH_SECONDS:
            break
    if best is None:
        raise UnsupportedError("no number of models fits")
    return best[1]


def answer(variants: Mapping[str, Prepare], packages: tuple[str, ...]) -> None:
    """Answer requests until stdin ends.

    Args:
        variants: What this process can time, by name.
        packages: Whose versions the driver should write down.
    """
    channel = _private_stdout()
    _say(channel, {"variants": list(variants), "versions": {name: version(name) for name in packages}})
    session = _Session(variants)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            _say(channel, session.reply(request))
        except UnsupportedError as reason:
            _say(channel, {"unsupported": str(reason)})
        except Exception as error:  # noqa: BLE001  the driver shows it and goes on with the others
            _say(channel, {"unsupported": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})


@final
class _Session:
    """Holds a trial of each variant for one workload and batch size; a request for another pair ends them."""

    def __init__(self, variants: Mapping[str, Prepare]) -> None:
        self._variants = variants
        self._case: tuple[str, int] | None = None
        self._trials: dict[str, tuple[Trial, int]] = {}

    def reply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to one request."""
        case = (request["workload"], request["batch_size"])
        if case != self._case:
            self._case = case
            self._trials.clear()
        variant = request["variant"]
        if request["repeat"] == 0:
            return self._begin(variant, *case, seconds=float(request["seconds"]))
        trial, updates = self._trials[variant]
        spent = trial.advance(updates)
        return {"seconds_per_update": spent.seconds / spent.updates, "updates": spent.updates}

    def _begin(self, variant: str, workload: str, batch_size: int, *, seconds: float) -> dict[str, Any]:
        started = time.perf_counter()
        trial = self._variants[variant](WORKLOADS[workload], batch_size)
        trial.advance(1)
        compile_seconds = time.perf_counter() - started
        spent = trial.advance(LEAST_UPDATES)
        updates = LEAST_UPDATES
        for _ in range(2):  # once for the size of a step, once more from a time that can be trusted
            updates = max(LEAST_UPDATES, round(seconds * spent.updates / spent.seconds))
            spent = trial.advance(max(LEAST_UPDATES, updates // 3))
        self._trials[variant] = trial, updates
        return {"compile_seconds": compile_seconds, "detail": trial.detail}


def _private_stdout() -> IO[str]:
    """Return stdout; what libraries print goes to stderr from now on."""
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return channel


def _say(channel: IO[str], document: Mapping[str, Any]) -> None:
    channel.write(json.dumps(document) + "\n")
    channel.flush()
