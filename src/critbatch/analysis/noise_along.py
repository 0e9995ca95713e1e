"""The gradient noise scale along training, seeds together."""

import math

import numpy as np
import polars as pl

from ..finding import NoisePoint, TaskFacts
from ..noise import noise_scale
from ..record import Evidence
from .grid import tracks

TRACE, SQUARED_NORM = "gradient_covariance_trace", "gradient_squared_norm"


def noise_along(evidence: Evidence, facts: TaskFacts, *, level: float = 0.95) -> tuple[NoisePoint, ...]:
    """Return the noise scale at each look of the runs that measured it, from the moments' means over seeds.

    Args:
        evidence: Runs with the measurement `NoiseMoments` are used, all others are not.
        facts: The task's.
        level: Confidence level.
    """
    runs = evidence.runs.filter(pl.col("measurements").str.contains("NoiseMoments"))
    if runs.is_empty():
        return ()
    looks = tracks(Evidence(runs, evidence.records.filter(pl.col("run").is_in(runs["run"].to_list()))))
    size = int(runs["batch_size"][0])
    used = [looks[run] for run in runs.filter(pl.col("batch_size") == size)["run"] if TRACE in looks[run].values]
    points = []
    examples = 0.0
    for step in sorted({float(step) for track in used for step in track.step}):
        pairs = []
        for track in used:
            at = np.flatnonzero(track.step == step)
            moments = (track.values[TRACE][at[0]], track.values[SQUARED_NORM][at[0]]) if len(at) else (np.nan,)
            if np.isfinite(moments).all():
                pairs.append(moments)
                examples = float(track.examples[at[0]])
        if pairs:
            found = np.array(pairs).T
            scale = noise_scale(*found, level=level)
            epochs = examples / (facts.train_size or math.inf)
            points.append(NoisePoint(size, int(step), epochs, scale, float(found[0].mean()), float(found[1].mean())))
    return tuple(points)
