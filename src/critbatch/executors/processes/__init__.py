"""Several items at once, on the cores of this computer."""

import os
import pickle
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, final

from typing_extensions import override

from ...executor import Executor, Item, Lost, Result, Shared
from .pool import PATIENCE_SECONDS, _Pool
from .worker import WHAT_TO_DO, ready

_Parcels = deque[tuple[Item, bytes]]

SMALL = 2**16  # bytes of work: a new process takes seconds to load what it needs, sending this along takes no time


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@final
@dataclass(frozen=True)
class Processes(Executor):
    """A pool of worker processes, one thread each. When a worker is killed, only the item that kills it is given up.

    When a worker dies, every item under way is suspect. They are done again one by one, alone in the pool, and only
    there a death is held against an item.

    Args:
        workers: Processes at once; all cores if not given.
        attempts: Deaths alone in the pool after which an item is `Lost`.

    Raises:
        ValueError: If one of them is below 1.
    """

    workers: int = field(default_factory=cores)  # pyrefly: ignore  # read-only here
    attempts: int = 3
    _kept: list["_Kept"] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, value in (("workers", self.workers), ("attempts", self.attempts)):
            if value < 1:
                raise ValueError(f"`Processes({name}={value})`: must be at least 1.")

    @override
    def __enter__(self) -> Self:
        self._kept.append(_Kept())
        return self

    @override
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._kept.pop().end(patience=PATIENCE_SECONDS if kind is None else 0.0)

    @override
    def map(
        self, function: Callable[[Shared, Item], Result], shared: Shared, items: Sequence[Item]
    ) -> Generator[tuple[Item, Result | Lost], None, None]:
        return self._all(_pickled((function, shared)), deque((item, _pickled(item)) for item in items))

    def _all(self, work: bytes, waiting: _Parcels[Item]) -> Generator[tuple[Item, Any], None, None]:
        while waiting:
            suspects = yield from self._together(work, waiting)
            with _Pool(1, work) as alone:
                for item, parcel in suspects:
                    yield item, self._insist(alone, parcel)

    def _together(
        self, work: bytes, waiting: _Parcels[Item]
    ) -> Generator[tuple[Item, Any], None, list[tuple[Item, bytes]]]:
        # Yields results until nothing waits or a worker has died; returns what was under way then.
        workers = min(self.workers, len(waiting))
        under_way: dict[Future[bytes], tuple[Item, bytes]] = {}
        suspects: list[tuple[Item, bytes]] = []
        done: list[tuple[Item, Any]] = []
        with self._pool(work) as pool:
            while True:
                while waiting and not suspects and len(under_way) < workers:
                    future = pool.call(waiting[0][1])
                    under_way[future] = waiting.popleft()
                yield from done  # only now: workers should not wait for whoever reads this
                if not under_way:
                    return suspects
                done = []
                for future in pool.finished(under_way):
                    item, parcel = under_way.pop(future)
                    if isinstance(future.exception(), BrokenProcessPool):
                        suspects.append((item, parcel))
                    else:
                        done.append((item, pickle.loads(future.result())))

    @contextmanager
    def _pool(self, work: bytes) -> Iterator[_Pool]:
        """Use the workers kept from the last call, or new ones; they start when there is something to do for them."""
        kept = self._kept[-1] if self._kept else _Kept()
        pool = kept.take(self.workers, work)
        try:
            yield pool
        except BaseException:
            kept.end(patience=0.0)
            raise
        if not self._kept or not pool.is_whole():
            kept.end(patience=PATIENCE_SECONDS)

    def _insist(self, alone: _Pool, parcel: bytes) -> Any:
        ends: list[str] = []
        while len(ends) < self.attempts:
            _start(alone)
            future = alone.call(parcel)
            alone.finished([future])
            if not isinstance(future.exception(), BrokenProcessPool):
                return pickle.loads(future.result())
            ends += map(_end, alone.stop())
        return Lost(f"its worker process died {len(ends)} times ({', '.join(dict.fromkeys(ends))})")


@final
class _Kept:
    """The pool that goes on from one call to the next, unless a worker has died or the new work is large."""

    def __init__(self) -> None:
        self._pool: _Pool | None = None
        self._known = b""

    def take(self, workers: int, work: bytes) -> _Pool:
        is_fit = self._pool is not None and self._pool.is_whole() and (self._known == work or len(work) <= SMALL)
        if self._pool is None or not is_fit:
            self.end(patience=PATIENCE_SECONDS)
            self._pool = _Pool(workers, work)
        elif self._known != work:
            self._pool.turn_to(work)
        self._known = work
        return self._pool

    def end(self, patience: float) -> None:
        if self._pool is not None:
            self._pool.stop(patience)
        self._pool = None


def _pickled(value: object) -> bytes:
    try:
        return pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(f"`Processes`: the work cannot be sent to worker processes: {error}. {WHAT_TO_DO}") from error


def _start(pool: _Pool) -> None:
    future = pool.submit(ready)
    pool.finished([future])
    if isinstance(future.exception(), BrokenProcessPool):
        raise RuntimeError(
            f"`Processes`: a worker process died while it started ({', '.join(map(_end, pool.stop()))}). Every worker "
            "imports the script that runs: put what it does under `if __name__ == '__main__':`, or use the serial "
            "executor."
        )


def _end(exit_code: int | None) -> str:
    if exit_code is None or exit_code >= 0:
        return f"exit code {exit_code}"
    return f"signal {-exit_code}" + ("; out of memory?" if exit_code == -9 else "")
