"""Evidence arranged as the grid it came from: batch size x learning rate x seed."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import polars as pl

from ..finding import TaskFacts
from ..record import Ending, Evidence
from ..statistics.censoring import crossing, last_short


@final
@dataclass(frozen=True, eq=False)
class Track:
    """What one run left behind, as arrays over its looks.

    Attributes:
        ending: How it ended.
        step: Shape (look,), and likewise `examples`, `seconds`, and each of `values`, by quantity.
    """

    ending: Ending
    step: np.ndarray
    examples: np.ndarray
    seconds: np.ndarray
    values: dict[str, np.ndarray]

    @property
    def completed(self) -> bool:
        """Return whether the run came to a regular end: it spent its budget or reached its target."""
        return self.ending in (Ending.BUDGET, Ending.TARGET)


@final
@dataclass(frozen=True, eq=False)
class Grid:
    """The tracks of one sweep and the task's facts; `tracks[batch size][learning rate][seed]`."""

    facts: TaskFacts
    seeds: tuple[int, ...]
    tracks: dict[int, dict[float, dict[int, Track]]]

    def batch_sizes(self) -> list[int]:
        """Return the batch sizes, ascending."""
        return sorted(self.tracks)

    def rates(self, batch_size: int) -> np.ndarray:
        """Return the learning rates tried at `batch_size`, ascending, shape (rate,)."""
        return np.array(sorted(self.tracks[batch_size]))

    def table(self, batch_size: int, read: Callable[[Track], float]) -> np.ndarray:
        """Return `read` of every run at `batch_size`, shape (rate, seed); NaN where a run is missing or FAILED."""
        rows = self.tracks[batch_size]
        found = [[rows[rate].get(seed) for seed in self.seeds] for rate in sorted(rows)]
        return np.array(
            [[np.nan if one is None or one.ending is Ending.FAILED else read(one) for one in row] for row in found],
            dtype=float,
        )

    @functools.cached_property
    def steps_to_target(self) -> dict[int, np.ndarray]:
        """Return steps to target by batch size, shape (rate, seed): infinite where not reached (right-censored)."""
        return {size: self.table(size, self.reached) for size in self.batch_sizes()}

    @functools.cached_property
    def last_seen(self) -> dict[int, np.ndarray]:
        """Return the step up to which a run was seen not to reach the target and then ended regularly, else NaN.

        By batch size, shape (rate, seed): lower bounds of right-censored steps to target.
        """
        return {size: self.table(size, self._short_of_target) for size in self.batch_sizes()}

    def _short_of_target(self, track: Track) -> float:
        facts = self.facts
        seen = track.values.get(facts.target_quantity or "")
        if not track.completed or seen is None or facts.target_value is None or math.isfinite(self.reached(track)):
            return np.nan
        return max(last_short(track.step, seen, facts.target_value, facts.target_direction or "above"), 1.0)

    def reached(self, track: Track) -> float:
        """Return the steps to target of one run; infinite where it was not seen to reach it, or diverged later."""
        facts = self.facts
        if not track.completed:
            return np.inf
        if facts.target_quantity is None or facts.target_value is None or facts.target_direction is None:
            return np.inf
        seen = track.values.get(facts.target_quantity)
        found = None if seen is None else crossing(track.step, seen, facts.target_value, facts.target_direction)
        return np.inf if found is None else max(found, 1.0)


def grid(evidence: Evidence, facts: TaskFacts, *, seeds: Sequence[int] = ()) -> Grid:
    """Return the runs of `evidence` without measurements as a grid (those with measurements repeat some of them).

    Learning rates that lack some seed are left out: pilots with one seed, and cells that a sweep has not finished.

    Args:
        evidence: Of a sweep.
        facts: The task's.
        seeds: Only these; the default is all that occur.
    """
    runs = evidence.runs.filter(pl.col("measurements") == "[]")
    if seeds:
        runs = runs.filter(pl.col("seed").is_in(list(seeds)))
    looks = tracks(Evidence(runs, evidence.records))
    arranged: dict[int, dict[float, dict[int, Track]]] = {}
    for row in runs.iter_rows(named=True):
        rates = arranged.setdefault(row["batch_size"], {})
        rates.setdefault(row["learning_rate"], {})[row["seed"]] = looks[row["run"]]
    seeds = tuple(sorted(seeds or runs["seed"].unique().to_list()))
    whole = {
        size: {rate: row for rate, row in rates.items() if len(row) == len(seeds)} for size, rates in arranged.items()
    }
    return Grid(facts, seeds, {size: rates for size, rates in whole.items() if rates})


def tracks(evidence: Evidence) -> dict[str, Track]:
    """Return the track of every run of `evidence`, by run id."""
    keys = ["run", "step", "examples", "seconds"]
    wide = evidence.records.pivot("quantity", index=keys, values="value").sort("run", "step")
    columns = {name: wide[name].to_numpy().astype(float) for name in wide.columns if name != "run"}
    blocks = wide.select(pl.col("run").rle().struct.unnest())
    ends = np.cumsum(blocks["len"].to_numpy()).tolist()
    slices = {
        run: slice(end - length, end) for run, length, end in zip(blocks["value"], blocks["len"], ends, strict=True)
    }
    step, examples, seconds = (columns.pop(name) for name in keys[1:])
    quantities = _present(columns, list(slices.values()))
    places = [
        (run, ending, slices.get(run, slice(0))) for run, ending in evidence.runs.select("run", "ending").iter_rows()
    ]
    return {
        run: Track(
            Ending[ending], step[place], examples[place], seconds[place],
            {name: columns[name][place] for name in quantities.get(place.start, ())},
        )
        for run, ending, place in places
    }  # fmt: skip


def _present(columns: Mapping[str, np.ndarray], slices: Sequence[slice]) -> dict[int, list[str]]:
    """Return the quantities that have any value in each of consecutive slices, by where it starts."""
    starts = [one.start for one in slices]
    found: dict[int, list[str]] = {start: [] for start in starts}
    for name, column in columns.items() if starts else ():
        seen = np.logical_or.reduceat(~np.isnan(column), starts)
        for index in np.flatnonzero(seen):
            found[starts[index]].append(name)
    return found
