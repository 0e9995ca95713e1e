"""Who trains together."""

import dataclasses
import math
from collections.abc import Callable, Iterable

from ..plan import Run


def cohorts(
    runs: Iterable[Run], most: int, cost: Callable[[Run], float], *, dearest: float = math.inf
) -> list[tuple[Run, ...]]:  # fmt: skip
    """Return all `runs` in groups that can train together: they differ in learning rate and seed only.

    The group expected to take longest comes first, so that the last ones to finish are short and no worker waits long
    for another. Inside a group the runs of like cost stay together, and of those the runs of one seed.

    Args:
        runs: Each goes into exactly one group.
        most: The largest size of a group.
        cost: What a run is expected to take, in any unit.
        dearest: What a group of more than one run may cost at most.

    Raises:
        ValueError: If `most` is below 1.
    """
    if most < 1:
        raise ValueError(f"`cohorts(most={most})`: a group holds at least 1 run. Use 1 to train each run alone.")
    alike: dict[str, list[Run]] = {}
    for run in runs:
        alike.setdefault(dataclasses.replace(run, learning_rate=1.0, seed=0).id, []).append(run)
    groups: list[tuple[Run, ...]] = []
    for members in alike.values():
        members.sort(key=lambda run: (-cost(run), run.seed))
        fitting = dearest / cost(members[0]) if cost(members[0]) > 0 else most
        size = max(1, int(min(most, fitting)))
        size = -(-len(members) // -(-len(members) // size))  # as many groups, but of like size
        groups += [tuple(members[start : start + size]) for start in range(0, len(members), size)]
    return sorted(groups, key=lambda group: sum(map(cost, group)), reverse=True)
