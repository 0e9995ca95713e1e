"""A sweep at one learning rate: the rate that suits the smallest batch size, kept for all larger ones."""

from dataclasses import dataclass
from typing import final

import numpy as np

from ..analysis.grid import Grid, Track
from ..analysis.readings import common_amount
from ..claim import Exhibit, Scale
from ..finding import TaskFacts
from ..plan import Plan
from .protocol import common_budget, common_sweep, runs, seeds
from .reading import Reader, arm_grid, at, chosen_rate, table, tuned, worse

SWEEP = "sweep"
EPOCHS = {"full": 30, "smoke": 4}
SMALLEST = 16  # Keras's habit is 32: smaller batches are left out
POLICY = "one rate for all batch sizes: the best at the smallest of them, chosen by the other seeds"


def same_rate_sweep(facts: TaskFacts, scale: Scale) -> Plan:
    """Return the common sweep; at smoke scale one whose learning rates are the same at every batch size."""
    if scale == "full":
        return common_sweep(facts, scale)
    chosen = (64, min(1024, facts.train_size or 1024))
    return runs(facts, batch_sizes=chosen, rates=[0.25, 0.5, 1.0], seeds=seeds(scale), budget=common_budget(scale))


@final
@dataclass(frozen=True, eq=False)
class SameRate:
    """A sweep at one learning rate.

    Attributes:
        grid: Its batch sizes from 16 on, or all if there is only one such.
        epochs: At which it is read.
        rates: Of each seed, chosen on the others; NaN if no rate was tried at every batch size.
    """

    grid: Grid
    epochs: float
    rates: np.ndarray

    @property
    def sizes(self) -> list[int]:
        """Return the batch sizes, ascending."""
        return self.grid.batch_sizes()

    def select(self) -> Reader:
        """Return the selection metric after the epochs that count; lower is better."""
        facts = self.grid.facts
        return worse(self.grid, at("epochs", self.epochs, f"{facts.selection_split}_{facts.metric}", facts))

    def table(self, read: Reader) -> np.ndarray:
        """Return `read` at the one rate, shape (seed, batch size)."""
        found = np.full((len(self.grid.seeds), len(self.sizes)), np.nan)
        for row, (seed, rate) in enumerate(zip(self.grid.seeds, self.rates, strict=True)):
            for column, size in enumerate(self.sizes):
                track = self.grid.tracks[size].get(float(rate), {}).get(seed)
                found[row, column] = np.nan if track is None else read(track)
        return found

    def tuned(self, read: Reader) -> np.ndarray:
        """Return `read` at each batch size's own best rate, shape (seed, batch size)."""
        return table(self.grid, self.sizes, lambda size: tuned(self.grid, size, score=self.select(), read=read))

    def chosen(self) -> float | None:
        """Return the rate that is best at the smallest batch size over all seeds."""
        shared = _at_smallest(self.grid)
        return chosen_rate(shared, self.sizes[0], score=self.select()) if shared.tracks else None


def same_rate(exhibit: Exhibit) -> SameRate:
    """Return the sweep of an exhibit at the rate that suits its smallest batch size of 16 or more.

    It is the best there of those tried at every batch size, on the selection split after 30 epochs (as many as all
    batch sizes saw, if that is fewer), chosen for each seed by the others.

    Args:
        exhibit: Its arm is called "sweep".
    """
    whole = arm_grid(exhibit, SWEEP)
    large = [size for size in whole.batch_sizes() if size >= SMALLEST]
    kept = large if len(large) > 1 else whole.batch_sizes()
    grid = Grid(whole.facts, whole.seeds, {size: whole.tracks[size] for size in kept})
    epochs = min(EPOCHS[exhibit.scale], common_amount(grid, "epochs"))
    found = SameRate(grid, epochs, np.full(len(grid.seeds), np.nan))
    shared = _at_smallest(grid)
    if not shared.tracks:
        return found
    # each seed's rate is what `tuned` reads of it there
    rate_of = {id(track): rate for rate, row in grid.tracks[kept[0]].items() for track in row.values()}
    rates = tuned(shared, kept[0], score=found.select(), read=lambda track: rate_of[id(track)])
    return SameRate(grid, epochs, rates)


def _at_smallest(grid: Grid) -> Grid:
    """Return the smallest batch size with the rates that were tried at every batch size; nothing if there are none."""
    found: dict[int, dict[float, dict[int, Track]]] = {}
    for size in grid.batch_sizes()[:1]:
        shared = set.intersection(*(set(rates) for rates in grid.tracks.values()))
        found = {size: {rate: grid.tracks[size][rate] for rate in sorted(shared)}} if shared else {}
    return Grid(grid.facts, grid.seeds, found)
