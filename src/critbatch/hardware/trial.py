"""The peak memory of a training step, in a process of its own."""

import gc
import multiprocessing
import os
import pickle
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, final

import torch

if sys.platform != "win32":
    import resource

from ..plan import Run
from ..task import Task
from .bench import LEARNING_RATE, Bench, TakeStep, settled

STEPS = 2  # the optimizer's state appears in the first one
SLACK = (
    2**28
)  # bytes of address space that the fence allows beyond the limit: stacks of threads, pools of the allocator
# glibc gives freed tensors back at once: the peak is then what the step holds, a straight line in the batch size, and not
# how the heap happened to be cut up (up to twice as much between 4 and 16 MiB a tensor). As "allocated" is on a GPU.
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_TOP_PAD_": "131072"}
STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SENDING = (
    "Define the model factory at module level in a file and name the task as `path/to/file.py:name`; a script must start "
    "its work under `if __name__ == '__main__':`."
)


@final
@dataclass(frozen=True)
class Trial:
    """One batch size tried in a fresh process.

    Attributes:
        batch_size: Examples per step.
        peak_bytes: On a GPU: the most that was allocated at once, the training set included, which lies there. On the
            CPU: the most that was resident at once, above what was before the model was made. None if it did not fit.
        ended: "fits"; "memory": it ran out of memory or passed the limit, or the process was killed; "time": it took too
            long; "error": it failed for another reason.
        reason: Why it did not fit, or None.
    """

    batch_size: int
    peak_bytes: int | None
    ended: Literal["fits", "memory", "time", "error"]
    reason: str | None


@final
@dataclass(frozen=True)
class Work:
    """What every trial of a search does: the pickled task, run and step, and where and how.

    Attributes:
        parcel: From `pack`.
        device: As torch spells it.
        threads: Of torch on the CPU.
        limit_bytes: A peak above it does not fit; None for what the device has.
        most_seconds: After which a trial is stopped.
    """

    parcel: bytes
    device: str
    threads: int
    limit_bytes: int | None
    most_seconds: float


def pack(task: Task, run: Run, take_step: TakeStep) -> bytes:
    """Return what a fresh process needs to train.

    Raises:
        ValueError: If it cannot be pickled: the model or a loss is a lambda or was defined inside a function.
    """
    try:
        return pickle.dumps((task, run, take_step))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(f"task {task.name!r} cannot be sent to a fresh process: {error}. {SENDING}") from error


def attempt(work: Work, batch_size: int) -> Trial:
    """Return how two training steps of `batch_size` went in a fresh process.

    A process that dies counts as not fitting; its signal or exit code is the reason.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_try, args=(sender, work, batch_size), daemon=True)
    with _inherited():
        process.start()
    sender.close()
    try:
        if not receiver.poll(work.most_seconds):
            return Trial(batch_size, None, "time", f"two steps took more than {work.most_seconds:g} s")
        return Trial(batch_size, *receiver.recv())
    except EOFError:
        process.join()
        return _dead(batch_size, process.exitcode)
    finally:
        process.kill()
        process.join()
        process.close()
        receiver.close()


@contextmanager
def _inherited() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _dead(batch_size: int, exit_code: int | None) -> Trial:
    if exit_code is not None and exit_code < 0:
        more = ": the system was out of memory?" if exit_code == -9 else ""
        return Trial(batch_size, None, "memory", f"the process was killed by signal {-exit_code}{more}")
    return Trial(batch_size, None, "error", f"the process ended with exit code {exit_code}. {SENDING}")


def _try(sender: Connection, work: Work, batch_size: int) -> None:
    """Send peak, ending and reason of one trial; runs in the fresh process."""
    try:
        task, run, take_step = pickle.loads(work.parcel)
        with settled(torch.device(work.device), threads=work.threads, seed=run.seed):
            answer = _measure(work, batch_size, task, run, take_step)
    except Exception as error:  # noqa: BLE001  sent to the parent, which keeps it as the trial's reason
        answer = (None, "memory" if _is_memory(error) else "error", f"{type(error).__name__}: {error}")
    with suppress(BrokenPipeError):  # the parent has gone
        sender.send(answer)


def _measure(
    work: Work, batch_size: int, task: Task, run: Run, take_step: TakeStep
) -> tuple[int | None, str, str | None]:  # fmt: skip
    device = torch.device(work.device)
    _load_lazily(run, device)
    before = _start(device, work.limit_bytes)
    bench = Bench(task, run, take_step, device)
    batch = bench.batch(batch_size)
    for _ in range(STEPS):
        _, fitted = bench.step(batch, batch_size)
        if fitted < batch_size:
            return None, "memory", f"memory ran out: micro-batches of {fitted} fit"
    peak = _peak(device) - before
    if work.limit_bytes is not None and peak > work.limit_bytes:
        return None, "memory", f"peak of {peak:,} bytes, above the limit of {work.limit_bytes:,}"
    return peak, "fits", None


def _load_lazily(run: Run, device: torch.device) -> None:
    """Take a step of next to nothing: what torch imports at a first step (over 50 MB) is not the task's."""
    layer = torch.nn.Linear(1, 1, device=device, dtype=getattr(torch, run.dtype))
    layer(layer.weight.detach()).sum().backward()
    run.optimizer.build(layer.parameters(), LEARNING_RATE).step()
    gc.collect()


def _start(device: torch.device, limit_bytes: int | None) -> int:
    """Set the peak back and the fence up; return the bytes in use now that are not to be counted."""
    if device.type == "cuda":
        if limit_bytes is not None:
            whole = torch.cuda.get_device_properties(device).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, (limit_bytes + SLACK) / whole), device)
        torch.cuda.reset_peak_memory_stats(device)
        return 0
    if RESET.exists():
        RESET.write_text("5", encoding="ascii")  # the highest resident size starts anew
    _fence(limit_bytes)
    return _status("VmRSS") if STATUS.exists() else _highest()


def _fence(limit_bytes: int | None) -> None:
    """Refuse this process more private memory than limit and slack, so that a trial never exhausts the machine.

    Linux only. RLIMIT_DATA counts private writable pages; RLIMIT_AS would count torch's mapped libraries as well.
    """
    if limit_bytes is None or not STATUS.exists():
        return
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    soft = _status("VmData") + limit_bytes + SLACK
    resource.setrlimit(resource.RLIMIT_DATA, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _status("VmHWM") if STATUS.exists() else _highest()


def _status(name: str) -> int:
    """Return a size of this process from /proc, in bytes.

    Raises:
        ValueError: If it is not there.
    """
    found = re.search(rf"^{name}:\s+(\d+) kB$", STATUS.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{STATUS} has no line {name!r}: this kernel does not tell the memory of a process.")
    return int(found[1]) * 1024


def _highest() -> int:
    """Return the highest resident size so far, in bytes, where there is no /proc.

    Linux must not use it: there a new process inherits its parent's ru_maxrss, which hides any smaller peak.
    """
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024


def _is_memory(error: Exception) -> bool:
    """Return whether memory ran out: a full host and the engine's refusal are known by their text alone."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "memory" in str(error)


def device_limit(device: str) -> int:
    """Return how many bytes a trial may take: all of a GPU; on the CPU 80 % of what is available now.

    On the CPU it is read from /proc/meminfo and, inside a container, its own limit; elsewhere from `os.sysconf`.

    Raises:
        ValueError: If this machine does not tell, or the device's memory cannot be measured.
    """
    place = torch.device(device)
    if place.type == "cuda":
        return torch.cuda.get_device_properties(place).total_memory
    if place.type != "cpu":
        raise ValueError(f"`memory_ceiling(device={device!r})`: memory is measured on cpu and cuda devices only.")
    return int(0.8 * min(_available()))


def _available() -> list[int]:
    information, container = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
    if not information.exists():
        try:
            return [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2]  # half: other programs live here too
        except (ValueError, AttributeError, OSError) as error:
            raise ValueError("this machine does not tell its memory: give `memory_limit=` in bytes.") from error
    found = re.search(r"MemAvailable:\s+(\d+) kB", information.read_text(encoding="ascii"))
    known = [int(found[1]) * 1024] if found else []
    with suppress(OSError, ValueError):  # no such file, or "max": no limit
        known.append(int((container / "memory.max").read_text()) - int((container / "memory.current").read_text()))
    if not known:
        raise ValueError("this machine does not tell its memory: give `memory_limit=` in bytes.")
    return known
