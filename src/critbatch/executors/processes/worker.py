"""What happens in a worker process. Imports nothing heavy: the work itself decides what a worker loads."""

import functools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from multiprocessing.connection import wait
from typing import Any

WHAT_TO_DO = (
    "Define the model factory at module level in a file and name it as `path/to/file.py:name`, "
    "or use the serial executor."
)

_sent: list[bytes] = []  # the work: from `prepare`, and then what came along with a call


def prepare(work: bytes) -> None:
    """Keep the pickled function and what its calls share; leave Ctrl-C to the parent and end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _sent.append(work)


def ready() -> None:
    """Do nothing: that this returns shows that the worker has started."""


def call(item: bytes, work: bytes | None = None) -> bytes:
    """Return the pickled result of the function for a pickled item; `work` is given where it came after the start."""
    if work is not None and work != _sent[0]:
        _sent[0] = work
        _work.cache_clear()
    function, shared = _work()
    # Plain pickles both ways: the pool's own would leave tensors in shared memory when a process is killed.
    return pickle.dumps(function(shared, pickle.loads(item)))


@functools.cache
def _work() -> Any:
    try:
        work = pickle.loads(_sent[0])
    except (AttributeError, ImportError) as error:
        raise ValueError(f"`Processes`: a worker process cannot load the work: {error}. {WHAT_TO_DO}") from error
    if "torch" in sys.modules:  # otherwise the environment tells it, should it come later
        sys.modules["torch"].set_num_threads(1)
    return work


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
