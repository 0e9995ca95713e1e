"""What each batch size costs to the target in time and in devices, and which of them nothing beats."""

from collections.abc import Mapping, Sequence

import numpy as np

from ..curve import Fit
from ..estimate import Estimate
from ..finding import BatchSizeFinding, ParetoPoint
from ..hardware.step_time import FEWEST_SIZES, fit_step_time, time_optimal_batch_size
from .grid import Grid

MOST_DEVICES = 64


def step_seconds(grid: Grid) -> dict[int, float]:
    """Return the median seconds of a step at each batch size, over all runs."""
    found = {}
    for size in grid.batch_sizes():
        tracks = [track for row in grid.tracks[size].values() for track in row.values()]
        times = [track.seconds[-1] / track.step[-1] for track in tracks if len(track.step) and track.step[-1] > 0]
        if times:
            found[size] = float(np.median(times))
    return found


def time_optimal(grid: Grid, fit: Fit | None) -> Estimate | None:
    """Return sqrt(E_min/S_min t0/t1), the fastest batch size on this device by the two fits; None without them.

    Steps take t0 + t1 B seconds, fitted to the runs' own times, which the recommendation's measured seconds rest on too:
    a check of one against the other, and an answer between the batch sizes tried.

    Args:
        grid: The sweep.
        fit: Of its steps to target.
    """
    times = {}
    for size in grid.batch_sizes():
        tracks = [track for row in grid.tracks[size].values() for track in row.values()]
        found = [track.seconds[-1] / track.step[-1] for track in tracks if len(track.step) and track.step[-1] > 0]
        if found:
            times[size] = found
    fewest = min((len(one) for one in times.values()), default=0)
    if fit is None or len(times) < FEWEST_SIZES or fewest < 2:
        return None
    table = np.array([np.sort(one)[np.linspace(0, len(one) - 1, fewest).astype(int)] for one in times.values()])
    return time_optimal_batch_size(fit.critical_batch_size, fit_step_time(np.array(list(times)), table))


def pareto(rows: Sequence[BatchSizeFinding], seconds: Mapping[int, float]) -> tuple[ParetoPoint, ...]:
    """Return time to target and device time for every batch size on one device, and spread over several.

    A batch of B examples on n devices takes as long a step as B/n examples on one: devices that talk for free, so the
    times with more than one device are the least that hardware can give. A point is efficient if no other is both at
    least as fast and at least as cheap.

    Args:
        rows: What was found at each batch size.
        seconds: Of a step on one device, by batch size.
    """
    points: list[tuple[BatchSizeFinding, int, float]] = []
    for row in rows:
        if row.steps_to_target.value is None:
            continue
        for local, step in seconds.items():
            devices, rest = divmod(row.batch_size, local)
            if rest == 0 and 1 <= devices <= MOST_DEVICES:
                points.append((row, devices, step))
    times = [(step * (row.steps_to_target.value or 0.0), devices) for row, devices, step in points]
    return tuple(
        ParetoPoint(
            row.batch_size,
            devices,
            row.steps_to_target.scaled(step, unit="seconds", definition=f"seconds to target on {devices} devices"),
            row.steps_to_target.scaled(
                step * devices, unit="device seconds", definition=f"device seconds to target on {devices} devices"
            ),
            not any(_beats(other, (time, devices)) for other in times),
        )
        for (row, devices, step), (time, _) in zip(points, times, strict=True)
    )


def _beats(one: tuple[float, int], other: tuple[float, int]) -> bool:
    """Return whether `one` (seconds, devices) is no slower and no dearer than `other`, and better in something."""
    mine, theirs = (one[0], one[0] * one[1]), (other[0], other[0] * other[1])
    return mine[0] <= theirs[0] and mine[1] <= theirs[1] and mine != theirs
