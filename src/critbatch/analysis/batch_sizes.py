"""One row for each batch size and one for each cell of the grid."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from ..estimate import Estimate
from ..finding import BatchSizeFinding, Cell, Winner
from ..record import Ending
from ..statistics.censoring import smooth
from ..statistics.means import mean_estimate
from ..statistics.resampling import leave_one_out, replicate_estimate
from .choice import BY_STEPS, Choice, choice_of
from .comparison import fewest
from .grid import Grid, Track
from .rates import best_rate

MISSED = "no learning rate reached the target with enough seeds: budget spent before (censored), diverged or failed"


def quoted(grid: Grid, fresh: Grid | None, size: int, choice: Choice) -> tuple[Grid, float | None]:
    """Return the grid whose runs are quoted for a batch size, and the learning rate: fresh seeds where there are some.

    The seeds that chose the best learning rate flatter it; those that had no say in it do not.
    """
    if fresh is not None and choice.best_rate in fresh.tracks.get(size, {}):
        return fresh, choice.best_rate
    return grid, choice.best_rate


def costs(grid: Grid, fresh: Grid | None, size: int, choice: Choice) -> dict[str, np.ndarray] | None:
    """Return steps, examples and seconds to target at the best learning rate, each (seed,); None if a seed missed it."""
    source, rate = quoted(grid, fresh, size, choice)
    if rate is None or choice.criterion != BY_STEPS:
        return None
    steps = source.steps_to_target[size][list(source.rates(size)).index(rate)]
    if not np.isfinite(steps).all():
        return None
    tracks = [source.tracks[size][rate][seed] for seed in source.seeds]
    pairs = list(zip(steps, tracks, strict=True))
    examples = np.array([np.interp(step, track.step, track.examples) for step, track in pairs])
    seconds = np.array([np.interp(step, track.step, track.seconds) for step, track in pairs])
    return {"steps": steps, "examples": examples, "seconds": seconds}


def target_winners(
    grid: Grid, choices: Mapping[int, Choice], fresh: Grid | None = None, *, level: float = 0.95
) -> dict[str, Winner]:
    """Return which batch size reaches the target in the fewest steps, examples and seconds."""
    found = {size: costs(grid, fresh, size, choice) for size, choice in choices.items()}
    partly = [
        size
        for size, choice in choices.items()
        if found[size] is None and choice.criterion == BY_STEPS and choice.best is not None
    ]
    winners = {
        unit: fewest(
            {size: one[unit] for size, one in found.items() if one}, definition=f"{unit} to target", level=level
        )
        for unit in ("steps", "examples", "seconds")
    }
    return {unit: not_compared(one, partly) for unit, one in winners.items()}


def not_compared(winner: Winner, sizes: Sequence[int]) -> Winner:
    """Return the winner with words for batch sizes that some seed did not reach the target at: no seed has its pair."""
    if not sizes:
        return winner
    words = winner.words.replace("every other", "every other one compared")
    return dataclasses.replace(
        winner, words=f"{words}; not compared, for a seed did not arrive: {', '.join(map(str, sizes))}"
    )


def batch_size_row(
    grid: Grid, size: int, choice: Choice, fresh: Grid | None = None, *, level: float = 0.95
) -> BatchSizeFinding:
    """Return what was found at one batch size."""
    everything = [track for row in grid.tracks[size].values() for track in row.values()]
    to_target = _costs_to_target(grid, fresh, size, choice, level)
    test, loss, gap = _ends(*quoted(grid, fresh, size, choice), size, level)
    return BatchSizeFinding(
        batch_size=size,
        best_learning_rate=best_rate(choice, level=level),
        grid_learning_rate=choice.best_rate,
        learning_rate_at_edge=choice.edge,
        steps_to_target=to_target["steps"],
        examples_to_target=to_target["examples"],
        epochs_to_target=to_target["epochs"],
        seconds_to_target=to_target["seconds"],
        test_metric=test,
        train_loss=loss,
        generalization_gap=gap,
        diverged=sum(track.ending is Ending.DIVERGED for track in everything),
        censored=sum(track.ending is Ending.BUDGET and math.isinf(grid.reached(track)) for track in everything),
        runs=len(everything),
    )


def _costs_to_target(grid: Grid, fresh: Grid | None, size: int, choice: Choice, level: float) -> dict[str, Estimate]:
    source, rate = quoted(grid, fresh, size, choice)
    steps = _steps(source, size, rate if choice.criterion == BY_STEPS else None, level)
    facts = grid.facts

    def told(unit: str, factor: float) -> Estimate:
        return steps.scaled(factor, unit=unit, definition=steps.definition.replace("steps", unit, 1))

    step_seconds = 0.0
    if rate is not None:
        tracks = [track for track in source.tracks[size][rate].values() if len(track.step) and track.step[-1] > 0]
        step_seconds = float(np.median([track.seconds[-1] / track.step[-1] for track in tracks])) if tracks else 0.0
    return {
        "steps": steps,
        "examples": told("examples", size),
        "epochs": told("epochs", size / (facts.train_size or math.inf)),
        "seconds": told("seconds", step_seconds) if step_seconds else _missing(grid, "seconds", level),
    }


def _steps(grid: Grid, size: int, rate: float | None, level: float) -> Estimate:
    """Return the steps to target at one learning rate: the geometric mean over seeds, censored runs kept as such."""
    if rate is None or grid.facts.target_value is None:
        return _missing(grid, "steps", level)
    index = list(grid.rates(size)).index(rate)
    scores, bounds = np.log(grid.steps_to_target[size][[index]]), np.log(grid.last_seen[size][[index]])
    one = choice_of(np.array([rate]), scores, bounds)
    count = scores.shape[1]
    weights, groups = leave_one_out([count], paired=True)
    values = one.means(weights[0])[:, 0]
    if not np.isfinite(values).all():
        bound = one.least_bound()
        low = None if bound is None else float(np.exp(bound))
        return Estimate.missing(MISSED, unit="steps", definition=_definition(grid), level=level, count=count, low=low)
    cut = int((~np.isnan(bounds)).sum())
    method = "geometric mean over seeds" + (f", {cut} of {count} censored (normal likelihood)" if cut else "")
    return replicate_estimate(
        values, groups if count > 1 else (), level=level, count=count, unit="steps", method=f"{method}, Student t",
        definition=_definition(grid), logarithmic=True,
    )  # fmt: skip


def _definition(grid: Grid) -> str:
    facts = grid.facts
    if facts.target_value is None:
        return "steps to target"
    return f"steps until {facts.target_quantity} is {facts.target_direction} {facts.target_value:g} at three looks in a row"


def _missing(grid: Grid, unit: str, level: float) -> Estimate:
    definition = _definition(grid).replace("steps", unit, 1)
    reason = MISSED if grid.facts.target_value is not None else "no target, and no run to choose one from"
    return Estimate.missing(reason, unit=unit, definition=definition, level=level)


def cells(grid: Grid, size: int, choice: Choice, *, level: float = 0.95) -> list[Cell]:
    """Return one cell for each learning rate tried at `size`."""
    found = []
    for index, rate in enumerate(choice.rates):
        tracks = list(grid.tracks[size][float(rate)].values())
        steps = grid.steps_to_target[size][index]
        reached = int(np.isfinite(steps).sum())
        ends = [_end(track, f"test_{grid.facts.metric}") for track in tracks if track.completed]
        best = index == choice.best
        found.append(
            Cell(
                batch_size=size,
                learning_rate=float(rate),
                runs=len(tracks),
                diverged=sum(track.ending is Ending.DIVERGED for track in tracks),
                infeasible=sum(track.ending is Ending.INFEASIBLE for track in tracks),
                failed=sum(track.ending is Ending.FAILED for track in tracks),
                reached=reached,
                steps_to_target=_steps(grid, size, float(rate), level),
                test_metric=mean_estimate(
                    np.array(ends),
                    unit=grid.facts.metric,
                    definition=f"test {grid.facts.metric} at the end",
                    level=level,
                ),
                best=best,
                edge=best and choice.edge != "none",
            )
        )
    return found


def _ends(grid: Grid, rate: float | None, size: int, level: float) -> tuple[Estimate, Estimate, Estimate]:
    rows = {} if rate is None else grid.tracks[size][rate]
    tracks = [track for track in rows.values() if track.completed]
    names = (f"test_{grid.facts.metric}", "train_loss", "test_loss")
    test, train, test_loss = (np.array([_end(track, name) for track in tracks]) for name in names)
    when = "at the end of the run, best learning rate"
    return (
        mean_estimate(test, unit=grid.facts.metric, definition=f"test {grid.facts.metric} {when}", level=level),
        mean_estimate(train, unit="loss", definition=f"training loss {when}", level=level),
        mean_estimate(test_loss - train, unit="loss", definition=f"test loss minus training loss {when}", level=level),
    )


def _end(track: Track, quantity: str) -> float:
    return float(np.median(smooth(track.values[quantity])[-3:]))
