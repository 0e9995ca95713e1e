"""One row for each batch size and one for each cell of the grid."""

import math

import numpy as np

from ..estimate import Estimate
from ..finding import BatchSizeFinding, Cell, Winner
from ..record import Ending
from ..statistics.censoring import smooth
from ..statistics.means import mean_estimate
from .comparison import fewest
from .grid import Grid, Track
from .rates import BY_STEPS, Choice, best_rate

FACTORS = ("steps", "examples", "epochs", "seconds")


def costs(grid: Grid, size: int, choice: Choice) -> dict[str, np.ndarray] | None:
    """Return steps, examples, epochs and seconds to target at the best learning rate, each (seed,); None if missed."""
    if choice.best is None or choice.criterion != BY_STEPS:
        return None
    steps = grid.steps_to_target[size][choice.best]
    tracks = [grid.tracks[size][float(choice.rates[choice.best])][seed] for seed in grid.seeds]
    pairs = list(zip(steps, tracks, strict=True))
    examples = np.array([np.interp(step, track.step, track.examples) for step, track in pairs])
    seconds = np.array([np.interp(step, track.step, track.seconds) for step, track in pairs])
    return {"steps": steps, "examples": examples, "epochs": examples / grid.facts.train_size, "seconds": seconds}


def target_winners(grid: Grid, choices: dict[int, Choice], *, level: float = 0.95) -> dict[str, Winner]:
    """Return which batch size reaches the target in the fewest steps, examples and seconds."""
    found = {size: costs(grid, size, choice) for size, choice in choices.items()}
    return {
        unit: fewest(
            {size: one[unit] for size, one in found.items() if one}, definition=f"{unit} to target", level=level
        )
        for unit in ("steps", "examples", "seconds")
    }


def batch_size_row(grid: Grid, size: int, choice: Choice, *, level: float = 0.95) -> BatchSizeFinding:
    """Return what was found at one batch size."""
    everything = [track for row in grid.tracks[size].values() for track in row.values()]
    reached = costs(grid, size, choice)
    to_target = {unit: _cost(unit, None if reached is None else reached[unit], grid, level) for unit in FACTORS}
    test, loss, gap = _ends(grid, size, choice, level)
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


def cells(grid: Grid, size: int, choice: Choice, *, level: float = 0.95) -> list[Cell]:
    """Return one cell for each learning rate tried at `size`."""
    found = []
    for index, rate in enumerate(choice.rates):
        tracks = list(grid.tracks[size][float(rate)].values())
        steps = grid.steps_to_target[size][index]
        reached = int(np.isfinite(steps).sum())
        whole = reached == len(grid.seeds)
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
                steps_to_target=_cost("steps", steps if whole else None, grid, level),
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


def _cost(unit: str, values: np.ndarray | None, grid: Grid, level: float) -> Estimate:
    facts = grid.facts
    if facts.target_value is None:
        return Estimate.missing("no target, and no run to choose one from", unit=unit, definition=f"{unit} to target")
    definition = f"{unit} until {facts.target_quantity} is {facts.target_direction} {facts.target_value:g} at three looks in a row"
    if values is None:
        reason = (
            "no learning rate reached the target with every seed: budget spent before (censored), diverged or failed"
        )
        return Estimate.missing(reason, unit=unit, definition=definition, level=level)
    return mean_estimate(values, unit=unit, definition=definition, level=level, logarithmic=True)


def _ends(grid: Grid, size: int, choice: Choice, level: float) -> tuple[Estimate, Estimate, Estimate]:
    rows = {} if choice.best is None else grid.tracks[size][float(choice.rates[choice.best])]
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
