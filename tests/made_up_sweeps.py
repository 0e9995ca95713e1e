"""Sweeps whose truth is planted: steps to target are a hyperbola in batch size and a parabola in log learning rate."""

from dataclasses import dataclass, field

import numpy as np

from critbatch.finding import TaskFacts
from critbatch.measurement import look_steps
from critbatch.plan import RunResult
from critbatch.record import Ending, Evidence, Record, record_table
from critbatch.stores.memory import Memory
from tests.problems import blob_task, run_of

TASK = blob_task()
TARGET = 0.9
LOOKS = np.array(look_steps())


def facts(**changes) -> TaskFacts:
    fields = {
        "name": "made up", "revision": "r", "train_size": 1024, "test_size": 500, "validation_size": 200,
        "parameters": 100, "metric": "accuracy", "better": "above", "selection_split": "validation",
        "target_quantity": "validation_accuracy", "target_value": TARGET, "target_direction": "above",
        "target_origin": "given",
    }  # fmt: skip
    return TaskFacts(**(fields | changes))


@dataclass
class World:
    """What is true in a made-up sweep. `noise` is the spread of log steps over seeds."""

    s_min: float = 50.0
    e_min: float = 3200.0
    exponent: float = 1.0
    curvature: float = 0.3
    noise: float = 0.05
    batch_sizes: tuple[int, ...] = (1, 4, 16, 64, 256, 1024)
    powers: tuple[float, ...] = (-3, -2, -1, 0, 1, 2, 3)
    seeds: int = 5
    steps: float = 20000.0
    step_seconds: tuple[float, float] = (4e-4, 1e-6)
    final: dict[int, float] = field(default_factory=dict)

    def steps_to_target(self, size: int, power: float) -> float:
        """Return the true steps to target, `power` octaves off the best learning rate."""
        return (self.s_min + self.e_min / size) * np.exp(self.curvature * power**2)

    def best_rate(self, size: int) -> float:
        return 0.01 * size**self.exponent

    def evidence(self, seed: int = 0) -> Evidence:
        """Return the evidence of one such sweep."""
        draw = np.random.default_rng(seed)
        results = [
            self._run(size, power, one, float(draw.normal(0, self.noise)))
            for size in self.batch_sizes
            for power in self.powers
            for one in range(self.seeds)
        ]
        store = Memory()
        store.add(results)
        return store.evidence([result.run.id for result in results])

    def _run(self, size: int, power: float, seed: int, noise: float) -> RunResult:
        reached = self.steps_to_target(size, power) * np.exp(noise)
        looks = LOOKS[self.steps >= LOOKS]
        ceiling = self.final.get(size, 0.95)
        accuracy = np.minimum(0.1 + (TARGET - 0.1) * np.log1p(looks) / np.log1p(reached), ceiling)
        values = {
            "train_loss": 2 * (1 - accuracy),
            "test_loss": 2.2 * (1 - accuracy),
            "validation_loss": 2.1 * (1 - accuracy),
            "train_accuracy": accuracy,
            "test_accuracy": accuracy - 0.01 * noise,
            "validation_accuracy": accuracy,
        }
        second = self.step_seconds[0] + self.step_seconds[1] * size
        records = [
            Record(int(step), int(step) * size, float(step) * second, name, float(column[index]))
            for index, step in enumerate(looks)
            for name, column in values.items()
        ]
        run = run_of(TASK, batch_size=size, learning_rate=self.best_rate(size) * 2.0**power, seed=seed)
        last = int(looks[-1])
        return RunResult(run, Ending.BUDGET, last, last * size, last * second, record_table(records))
