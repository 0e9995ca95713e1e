"""What is written down while a run trains, and whether it has reached its target."""

import copy
import functools
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch

from ..budget import Progress
from ..data import Examples, Stream
from ..measurement import GradientSums, Measurement, Snapshot, measured_steps
from ..out_of_memory import halving
from ..plan import Run
from ..randomness import generator, seed_of
from ..record import Ending, Record
from ..statistics.censoring import crossing
from ..task import Task

EVALUATION_CHUNK = 2048

Means = Callable[[Examples], tuple[float, float] | None]


def ask_the_module(part: Examples) -> None:
    """Return nothing: the set has to be evaluated by the module itself."""


@functools.lru_cache(maxsize=4)
def splits_on(task: Task, device: torch.device, dtype: torch.dtype) -> dict[str, Examples]:
    """Return the sets that looks evaluate, ready on `device`; the same objects again for the same task."""
    return {name: part.to(device, dtype) for name, part in task.splits.items()}


class Looks:
    """Evaluates one run at its looks and keeps the records. Looking never changes the training, bit for bit."""

    def __init__(self, task: Task, run: Run, device: torch.device) -> None:
        self.task = task
        self.run = run
        self.device = device
        self.splits = splits_on(task, device, getattr(torch, run.dtype))
        self.records: list[Record] = []
        self.notes: list[str] = []
        self._due = {one: measured_steps(one.looks_per_decade) for one in run.measurements}
        self._chunk = EVALUATION_CHUNK

    def note(self, text: str) -> None:
        """Keep a remark about the run."""
        self.notes.append(text)

    def take(
        self, module: Callable[[], torch.nn.Module], progress: Progress, means: Means = ask_the_module,
        sums: GradientSums | None = None, *, spent: bool = False,
    ) -> Ending | None:  # fmt: skip
        """Record losses, metrics and due measurements; return DIVERGED or TARGET when the look shows it.

        Args:
            module: Returns the model in train mode, and is called only if it is needed.
            progress: How far the run has come.
            means: Returns mean loss and metric on a set if it can do so without the module.
            sums: Of gradients, for measurements that use them.
            spent: Whether the budget is spent: this look is then the run's last.
        """
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            values = self._evaluate(module, means)
            ending = self._ending(progress, values)
            is_last = ending is Ending.TARGET or (spent and ending is None)
            for measurement, due in self._due.items():
                if progress.step in due or (is_last and measurement.at_the_end):
                    values |= self._measure(measurement, module(), progress, sums)
        self.records += [
            Record(progress.step, progress.examples, progress.seconds, quantity, value)
            for quantity, value in values.items()
        ]
        return ending

    @torch.no_grad()
    def _evaluate(self, module: Callable[[], torch.nn.Module], means: Means) -> dict[str, float]:
        values: dict[str, float] = {}
        for name, part in self.splits.items():
            loss, metric = means(part) or self._asked(module(), part)
            values[f"{name}_loss"] = loss
            values[f"{name}_{self.task.metric.name}"] = metric
        if self.task.l2:
            squares = sum(float(one.square().sum()) for one in module().parameters() if one.requires_grad)
            values["train_objective"] = values["train_loss"] + self.task.l2 / 2 * squares
        return values

    def _asked(self, model: torch.nn.Module, part: Examples) -> tuple[float, float]:
        model.eval()
        found, self._chunk = halving(self._chunk, (), lambda size: self._means(model, part, size))
        model.train()
        return found

    def _means(self, model: torch.nn.Module, part: Examples, size: int) -> tuple[float, float]:
        loss = metric = 0.0
        for inputs, targets in part.pieces(size):
            outputs = model(inputs)
            loss += float(self.task.losses(outputs, targets).sum(dtype=torch.float64))
            metric += float(self.task.metric.values(outputs, targets).sum(dtype=torch.float64))
        return loss / len(part), metric / len(part)

    def _measure(
        self, measurement: Measurement, model: torch.nn.Module, progress: Progress, sums: GradientSums | None
    ) -> dict[str, float]:
        source = self.task.train
        fresh = isinstance(source, Stream)  # draws that training never sees
        data = source.epoch(seed_of(self.run.seed, "measuring data"), progress.step).to(
            self.device, getattr(torch, self.run.dtype)
        )
        name = type(measurement).__name__
        torch.default_generator.manual_seed(seed_of(self.run.seed, f"measuring forward {name}", progress.step))
        snapshot = Snapshot(
            task=self.task,
            model=copy.deepcopy(model).train(),
            inputs=data.inputs,
            targets=data.targets,
            population=None if fresh else len(data),
            batch_size=self.run.batch_size,
            learning_rate=self.run.learning_rate,
            generator=generator(self.run.seed, f"measuring {name}", progress.step),
            seed=self.run.seed,
            gradient_sums=sums,
        )
        return measurement.measure(snapshot)

    def _ending(self, progress: Progress, values: Mapping[str, float]) -> Ending | None:
        """Return what this look, whose `values` are not among the records yet, shows of the run's end."""
        if not math.isfinite(values["train_loss"]):
            return Ending.DIVERGED
        target = self.run.target
        if target is None:
            return None
        seen = [(record.step, record.value) for record in self.records if record.quantity == target.quantity]
        steps, reached = np.array([*seen, (progress.step, values[target.quantity])], dtype=float).T
        return None if crossing(steps, reached, target.value, target.direction) is None else Ending.TARGET
