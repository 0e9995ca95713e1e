"""Who trains together."""

import dataclasses
from collections.abc import Callable, Iterable

from ..plan import Run


def cohorts(runs: Iterable[Run], most: int, cost: Callable[[Run], float]) -> list[tuple[Run, ...]]:
    """Return all `runs` in groups that can train together: they differ in learning rate and seed only.

    The group expected to take longest comes first, so that the last ones to finish are short and no worker waits long
    for another. Inside a group the runs of like cost stay together.

    Args:
        runs: Each goes into exactly one group.
        most: The largest size of a group.
        cost: What a run is expected to take, in any unit.

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
        members.sort(key=cost, reverse=True)
        groups += [tuple(members[start : start + most]) for start in range(0, len(members), most)]
    return sorted(groups, key=lambda group: sum(map(cost, group)), reverse=True)
