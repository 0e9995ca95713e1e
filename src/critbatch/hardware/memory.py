"""The largest batch that fits into memory, and how memory grows with the batch."""

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import final

from ..estimate import Estimate
from ..plan import Run
from ..task import Task
from .bench import TakeStep, smallest_size
from .trial import Trial, Work, attempt, device_limit, pack

CEILING = "largest batch size whose full training step fits into memory, optimizer's state included"
FIXED = "memory of a training step whatever its batch size: m0 of peak = m0 + m1 B"
EACH = "memory that one more example adds to a step: m1 of peak = m0 + m1 B"
PREDICTED = "(limit - m0)/m1: batch size at which the line reaches the memory limit"
DOUBLINGS = 5  # from the first size tried to the whole training set


@final
@dataclass(frozen=True)
class MemoryLine:
    """Peak = m0 + m1 B through two sizes, verified at a third.

    Attributes:
        m0: Bytes.
        m1: Bytes per example.
        predicted_ceiling: Examples at which the line reaches the limit, whether or not there are so many.
        verified_at: Batch size at which the line was compared with a measurement, or None.
        error: There: predicted over measured, minus 1; or None.
    """

    m0: Estimate
    m1: Estimate
    predicted_ceiling: Estimate
    verified_at: int | None
    error: float | None


@final
@dataclass(frozen=True)
class Memory:
    """Peak memory of a training step against batch size, and the largest batch that fits.

    Attributes:
        device: As torch spells it.
        limit_bytes: What a step may take.
        ceiling: Examples; low fits, all above high do not. Without a value where all of the training set fits.
        line: How memory grows.
        trials: Every size tried, in the order tried.
    """

    device: str
    limit_bytes: int
    ceiling: Estimate
    line: MemoryLine
    trials: tuple[Trial, ...]


def memory_ceiling(  # noqa: PLR0913
    task: Task, run: Run, *, take_step: TakeStep, device: str = "cpu", memory_limit: int | None = None,
    threads: int = 1, most_seconds: float = 120.0, precision: float = 1 / 16,
) -> Memory:  # fmt: skip
    """Return the largest batch whose full training step fits into memory, and how memory grows with the batch.

    Each size is tried in a fresh process: two steps, after which the optimizer's state is there. Sizes double from 1/32
    of the training set until one does not fit or all of it does, then the gap is bisected.

    A trial on the CPU never exhausts the machine: on Linux its process may hold no more than the limit and 256 MB of
    private memory, and is refused what goes beyond. Elsewhere only the order of sizes protects: each is at most twice
    one that fitted. What a trial counts is what the step holds; a process whose allocator keeps freed memory takes more.
    Resident memory is counted in pages and shared out between threads: differences below about 1 MB
    mean nothing, so that a small model on the CPU shows no m1.

    Args:
        task: What is trained; it must be possible to send it to another process.
        run: Any run of the task: its optimizer, dtype and seed are used.
        take_step: The step: `critbatch.engine.sequential.take_step`, or another function of a module.
        device: cpu or a cuda device.
        memory_limit: Bytes that a step may take beyond what was there before the model. The default is all of a GPU,
            or 80 % of what the machine has available.
        threads: Of torch on the CPU.
        most_seconds: After which a trial is stopped. It then ends the search, without a ceiling.
        precision: Bisection ends when the gap is at most this share of what fits; 0 for the exact size.

    Raises:
        ValueError: If the limit is not above 0, or the task cannot be sent to another process.
    """
    if memory_limit is not None and memory_limit <= 0:
        raise ValueError(f"`memory_ceiling(memory_limit={memory_limit})`: give bytes, above 0.")
    limit = device_limit(device) if memory_limit is None else memory_limit
    work = Work(pack(task, run, take_step), device, threads, limit, most_seconds)
    largest = len(task.train)
    smallest = min(largest, smallest_size(task.initialise(run.seed)))
    first = max(smallest, largest // 2**DOUBLINGS)
    tried = functools.partial(attempt, work)
    ceiling, trials = find_ceiling(tried, first=first, largest=largest, smallest=smallest, precision=precision)
    return Memory(device, limit, ceiling, memory_line(trials, limit), trials)


def find_ceiling(
    trial: Callable[[int], Trial], *, first: int, largest: int, smallest: int = 1, precision: float = 0.0
) -> tuple[Estimate, tuple[Trial, ...]]:
    """Return the largest size that fits, found by doubling and then bisecting, and all trials in order.

    Args:
        trial: Tries a batch size.
        first: Size to begin with.
        largest: Size not to pass.
        smallest: Size below which nothing can be tried.
        precision: Bisection ends when the gap is at most this share of the size that fits.

    Returns:
        Examples: value and low fit, and what lies above high does not.
    """
    done: list[Trial] = []

    def ending(size: int) -> str:
        done.append(trial(size))
        return done[-1].ended

    fits, fails, size, told = smallest - 1, largest + 1, first, True
    while told and fits < largest < fails:  # nothing has failed yet
        match ending(size):
            case "fits":
                fits, size = size, min(2 * size, largest)
            case other:
                fails, told = size, other == "memory"
    while told and fails <= largest and fails - fits > max(1.0, precision * fits):
        middle = (fits + fails) // 2
        match ending(middle):
            case "fits":
                fits = middle
            case other:
                fails, told = middle, other == "memory"
    return _ceiling(fits, fails, smallest, done), tuple(done)


def _ceiling(fits: int, fails: int, smallest: int, trials: list[Trial]) -> Estimate:
    method = "doubling, then bisection, a fresh process each"
    low = float(fits) if fits >= smallest else None
    unknown = functools.partial(
        Estimate.missing, unit="examples", definition=CEILING, count=len(trials), level=1.0, method=method, low=low
    )
    reasons = {one.batch_size: one for one in trials}
    if fails not in reasons:
        return unknown(f"a step on all {fits} training examples fits")
    if reasons[fails].ended != "memory":
        return unknown(f"batch size {fails} could not be tried: {reasons[fails].reason}")
    if low is None:
        return unknown(f"not even batch size {smallest} fits: {reasons[fails].reason}")
    return Estimate(low, low, float(fails - 1), 1.0, len(trials), "examples", method, CEILING)


def memory_line(trials: Iterable[Trial], limit_bytes: int) -> MemoryLine:
    """Return peak = m0 + m1 B through about a quarter and a half of the largest size that fitted, verified at that one.

    Small sizes are left out: their peak may lie elsewhere, for instance in the update, and on the CPU they drown in the
    grain of resident memory. Sizes next to each other, as bisection leaves them, give no slope.

    Args:
        trials: Of any sizes.
        limit_bytes: For the predicted ceiling.
    """
    fitting = {one.batch_size: one.peak_bytes for one in trials if one.peak_bytes is not None}
    if len(fitting) < 3:
        return _no_line(f"a line and its check need 3 batch sizes that fit, got {len(fitting)}")
    *smaller, largest = sorted(fitting)
    other = min(smaller[1:], key=lambda size: abs(math.log(2 * size / largest)))
    one = min((size for size in smaller if size < other), key=lambda size: abs(math.log(2 * size / other)))
    m1 = (fitting[other] - fitting[one]) / (other - one)
    if m1 <= 0:
        return _no_line(f"peak memory does not grow from batch size {one} to {other}: too little to be seen")
    m0 = fitting[one] - m1 * one
    if m0 <= 0:
        return _no_line(
            f"the line through batch sizes {one} and {other} starts below 0: memory grows in steps, see trials"
        )
    through = functools.partial(
        Estimate, low=None, high=None, level=0.95, count=2, method=f"line through batch sizes {one} and {other}"
    )
    return MemoryLine(
        m0=through(value=m0, unit="bytes", definition=FIXED),
        m1=through(value=m1, unit="bytes per example", definition=EACH),
        predicted_ceiling=through(value=(limit_bytes - m0) / m1, unit="examples", definition=PREDICTED),
        verified_at=largest,
        error=(m0 + m1 * largest) / fitting[largest] - 1,
    )


def _no_line(reason: str) -> MemoryLine:
    return MemoryLine(
        m0=Estimate.missing(reason, unit="bytes", definition=FIXED),
        m1=Estimate.missing(reason, unit="bytes per example", definition=EACH),
        predicted_ceiling=Estimate.missing(reason, unit="examples", definition=PREDICTED),
        verified_at=None,
        error=None,
    )
