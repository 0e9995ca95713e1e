"""What a person sees while a sweep runs: a bar on a terminal or in a notebook, a line a stage elsewhere."""

from collections.abc import Mapping
from typing import Self, final

import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .estimate import short
from .finding import TaskFacts
from .plan import RunResult
from .statistics.censoring import crossing


@final
class Bar:
    """Runs done, time to finish and the leader so far, on stderr. A context manager and a `study.Watcher`."""

    def __init__(self, facts: TaskFacts | None, console: Console | None = None) -> None:
        self.facts = facts
        self.console = console or Console(stderr=True)
        self.live = self.console.is_terminal or self.console.is_jupyter
        self._costs: Mapping[str, float] = {}
        self._done = 0
        self._leader: tuple[float, str] | None = None
        self._progress = Progress(
            TextColumn("[bold]{task.fields[stage]}[/bold]"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[runs]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[leader]}"),
            console=self.console,
            disable=not self.live,
            transient=True,
            speed_estimate_period=120,
        )
        self._bar = self._progress.add_task("sweep", stage="", runs="", leader="", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def stage(self, name: str, costs: Mapping[str, float]) -> None:
        """Begin a stage; a stage without runs to train is passed over in silence."""
        if not costs:
            return
        self._costs, self._done = costs, 0
        fields = {"stage": name, "runs": f"0/{len(costs)} runs", "leader": self._words()}
        self._progress.reset(self._bar, total=sum(costs.values()), **fields)
        if not self.live:
            self.console.print(f"{name}: {len(costs)} runs", highlight=False)

    def finished(self, result: RunResult) -> None:
        """Move on by one run."""
        self._done += 1
        self._lead(result)
        self._progress.update(
            self._bar,
            advance=self._costs.get(result.run.id, 0.0),
            runs=f"{self._done}/{len(self._costs)} runs",
            leader=self._words(),
        )

    def _words(self) -> str:
        return f"fastest: {self._leader[1]}" if self._leader else ""

    def _lead(self, result: RunResult) -> None:
        facts = self.facts
        if (
            facts is None
            or facts.target_quantity is None
            or facts.target_value is None
            or facts.target_direction is None
        ):
            return
        seen = result.records.filter(pl.col("quantity") == facts.target_quantity)
        steps, values, seconds = (seen[name].to_numpy() for name in ("step", "value", "seconds"))
        found = crossing(steps, values, facts.target_value, facts.target_direction)
        if found is None:
            return
        time = float(np.interp(found, steps, seconds))
        if self._leader is None or time < self._leader[0]:
            run = result.run
            self._leader = (time, f"B={run.batch_size}, rate {short(run.learning_rate)}, target in {time:.2g} s")
