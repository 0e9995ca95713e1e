"""Functions that worker processes run. Imports little: a worker starts in a tenth of a second."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self


class Traveller:
    """Counts how often it is packed, and notes in a file which process has unpacked it."""

    def __init__(self, diary: Path) -> None:
        self.diary = diary
        self.packed = 0

    def __getstate__(self) -> dict[str, Any]:
        self.packed += 1
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        note(self.diary, str(os.getpid()))

    def visits(self) -> list[str]:
        return self.diary.read_text().split() if self.diary.exists() else []

    def itself(self) -> Self:
        return self


def note(path: Path, word: str) -> None:
    """Append a word in one piece, whoever else writes."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{word}\n".encode())
    os.close(handle)


def multiply(shared: Any, item: Any) -> Any:
    return shared * item


def process_of(shared: object, item: int) -> int:
    return os.getpid()


def meet(shared: Path, item: int) -> int:
    """Wait until two processes are at it, and return how many there are."""
    note(shared, str(os.getpid()))
    while len(met := set(shared.read_text().split())) < 2:
        time.sleep(0.01)
    return len(met)


def refuse(shared: int, item: int) -> int:
    if item == shared:
        raise ValueError(f"item {item} is refused")
    return item


def make_note(shared: Path, item: int) -> int:
    note(shared, str(item))
    return item


def kill_self(shared: Path, item: str) -> str:
    """Die by SIGKILL at "always", and at the first sight of "once"; leave at "exit"."""
    note(shared, item)
    if item == "exit":
        os._exit(7)
    if item == "always" or (item == "once" and shared.read_text().split().count("once") == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return item.upper()


def kill_self_or_take_long(shared: Path, item: str) -> str:
    """As `kill_self`, but so that other items are still waiting when a death is noticed."""
    if item != "once":
        time.sleep(0.2)
    return kill_self(shared, item)


def die_while_sending(shared: Path, item: str) -> bytes:
    """Return much, and at the first "large" die while it goes through the pipe."""
    if item == "large" and not shared.exists():
        shared.touch()
        threading.Thread(target=_kill_in_write, args=(os.getpid(),), daemon=True).start()
    return b"x" * (20_000_000 if item == "large" else 1)


def _kill_in_write(process: int) -> None:
    while True:
        call = Path(f"/proc/{process}/task/{process}/syscall").read_text().split()
        if call[0] == "1" and int(call[3], 16) > 1_000_000:  # write, of more than a pipe holds
            os.kill(process, signal.SIGKILL)


def threads_and_sum(shared: Any, item: Any) -> tuple[int, list[str | None], float]:
    import torch

    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")
    return torch.get_num_threads(), [os.environ.get(name) for name in names], float((shared + item).sum())


def unpicklable_result(shared: int, item: int) -> Callable[[], None]:
    return lambda: None
