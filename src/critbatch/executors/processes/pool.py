"""Worker processes that can be stopped at once."""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self, final

from .worker import call, prepare

# A process per core and a thread per process: threads of several processes wait for each other. And glibc shall keep
# freed memory: giving it back and asking again costs hundreds of page faults a step.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_TOP_PAD_": str(2**26),
}  # fmt: skip
LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 2.0


@final
class _Pool:
    """A `ProcessPoolExecutor` that starts with the first call, and again with the next one after it was stopped.

    The standard one waits for what is running when it is shut down, and for ever when a worker was killed while it sent
    a result. Here the processes are killed, and its pipe closed, which takes a look at its private fields.

    Args:
        workers: Processes at once.
        work: What each worker gets at its start.
    """

    def __init__(self, workers: int, work: bytes) -> None:
        self._workers = workers
        self._work = work
        self._along: bytes | None = None
        self._executor: ProcessPoolExecutor | None = None

    def turn_to(self, work: bytes) -> None:
        """Do other work from now on; it goes along with each call, so it should be small."""
        self._along = work

    def call(self, item: bytes) -> Future[bytes]:
        """Return the future result of the work on an item."""
        return self.submit(call, item, self._along)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Return the future result of a call; a `BrokenProcessPool` where a worker has died."""
        if self._executor is None:
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self._workers, context, prepare, (self._work,))
        try:
            with _inherited():
                return self._executor.submit(function, *arguments)
        except BrokenProcessPool as error:
            future: Future[Any] = Future()
            future.set_exception(error)
            return future

    def finished(self, futures: Collection[Future[Any]]) -> set[Future[Any]]:
        """Return those that are done, as soon as there is one."""
        while True:
            done, _ = wait(futures, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
            if done:
                return done
            if not all(process.is_alive() for process in self._processes()):
                self.stop()

    def is_whole(self) -> bool:
        """Return whether all processes are there."""
        return self._executor is not None and all(process.is_alive() for process in self._processes())

    def stop(self, patience: float = 0.0) -> list[int | None]:
        """End all processes and return their exit codes.

        Args:
            patience: Seconds in which workers without work may end by themselves.
        """
        executor, processes, self._executor = self._executor, self._processes(), None
        if executor is None:
            return []
        thread: Any = executor._executor_manager_thread
        results: Any = executor._result_queue
        executor.shutdown(wait=False)
        deadline = time.monotonic() + patience
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
        for process in processes:
            process.kill()
        for process in processes:
            process.join()
        results._writer.close()  # else the thread could wait for the rest of what a dead worker was sending
        if thread is not None:
            thread.join()
        return [process.exitcode for process in processes]

    def _processes(self) -> list[BaseProcess]:
        return [] if self._executor is None else list((self._executor._processes or {}).values())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(PATIENCE_SECONDS if kind is None else 0.0)


@contextmanager
def _inherited() -> Iterator[None]:
    """Set what a process that is started meanwhile takes over: one thread, and no Ctrl-C."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    if sys.platform != "win32":
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if sys.platform != "win32":
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
