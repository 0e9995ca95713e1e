"""Training curves for drawing: each batch size at its best learning rate, seeds averaged."""

import math

import numpy as np

from ..finding import CurvePoint
from ..statistics.means import margin
from .choice import Choice
from .grid import Grid


def curve_points(grid: Grid, choices: dict[int, Choice], *, level: float = 0.95) -> tuple[CurvePoint, ...]:
    """Return mean training loss and test metric with its interval at every look that all seeds share."""
    points: list[CurvePoint] = []
    for size, choice in choices.items():
        if choice.best_rate is not None:
            points += _points(grid, size, choice.best_rate, level)
    return tuple(points)


def _points(grid: Grid, size: int, rate: float, level: float) -> list[CurvePoint]:
    seeds = [track for track in grid.tracks[size][rate].values() if track.completed]
    shared = sorted(set.intersection(*(set(track.step.tolist()) for track in seeds))) if seeds else []
    points = []
    for step in shared:
        at = [int(np.flatnonzero(track.step == step)[0]) for track in seeds]
        rows = list(zip(seeds, at, strict=True))
        loss = np.array([track.values["train_loss"][index] for track, index in rows])
        test = np.array([track.values[f"test_{grid.facts.metric}"][index] for track, index in rows])
        if not (np.isfinite(loss).all() and np.isfinite(test).all()):
            continue
        half, mean = margin(test, level), float(test.mean())
        examples = float(np.mean([track.examples[index] for track, index in rows]))
        points.append(
            CurvePoint(
                batch_size=size,
                learning_rate=rate,
                step=int(step),
                epochs=examples / (grid.facts.train_size or math.inf),
                examples=examples,
                seconds=float(np.mean([track.seconds[index] for track, index in rows])),
                train_loss=float(loss.mean()),
                test_metric=mean,
                test_metric_low=mean - half if math.isfinite(half) else None,
                test_metric_high=mean + half if math.isfinite(half) else None,
            )
        )
    return points
