"""Gradient noise against its closed forms."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch

from ..noise import adascale_gain, pollux_efficiency
from ..worlds.gradients import gaussian_gradients, gaussian_moments, steps_on_a_quadratic
from .check import Check, covers, exactly, holds, unbiased
from .instrument import Instrument

KIND = "moments"
MEAN = np.array([0.6, -0.3, 0.0, 0.2, 0.1, 0.4])
DEVIATIONS = np.array([1.0, 0.5, 2.0, 0.3, 0.8, 0.1])
LEVELS = (
    (1, 10, 20),
    (10, 10, 20),
    (50, 10, 20),
    (10, 1000, 20),
    (50, 1000, 200),
)  # noise scale / batch size, dimension, measurements
BATCH = 64


def checks(instrument: Instrument, studies: int) -> Iterator[Check]:
    """Yield the checks of moments and noise scale; `studies` for each coverage."""
    yield from _unbiased(instrument, 60 * studies)
    yield _two_batches(instrument)
    yield _finite_population(instrument)
    yield _undetermined(instrument)
    yield _lag_one(60 * studies)
    yield _identity(instrument)
    for ratio, dimension, measurements in LEVELS:
        yield _coverage(instrument, studies, ratio, dimension, measurements)


def _drawn(instrument: Instrument, sizes: list[int], draws: int) -> np.ndarray:
    batch = gaussian_gradients(
        MEAN, deviations=DEVIATIONS, sizes=np.array(sizes), draws=draws, generator=np.random.default_rng(11)
    )
    weights = torch.tensor(sizes, dtype=torch.float64)
    return np.array([[float(one) for one in instrument.moments(torch.from_numpy(row), weights)] for row in batch])


def _unbiased(instrument: Instrument, draws: int) -> Iterator[Check]:
    trace, squared = float((DEVIATIONS**2).sum()), float((MEAN**2).sum())
    for name, sizes in (("T1: equal micro-batches", [8] * 4), ("T1w: unequal micro-batches", [3, 9, 4, 16])):
        found = _drawn(instrument, sizes, draws)
        detail = f"micro-batches of {sizes}"
        yield unbiased(KIND, f"tr(Sigma), {name}", trace, found[:, 0], detail=detail)
        yield unbiased(KIND, f"|G|^2, {name}", squared, found[:, 1], detail=detail)
        if sizes == [8] * 4:
            spread = 2 * float((DEVIATIONS**4).sum()) / (len(sizes) - 1)
            seen = (found[:, 0] - trace) ** 2
            yield unbiased(KIND, "variance of tr(Sigma), T1", spread, seen, detail="2 tr(Sigma^2)/(K - 1)")


def _two_batches(instrument: Instrument) -> Check:
    """Return the check that with two micro-batches McCandlish's form comes out."""
    small = torch.tensor(np.random.default_rng(12).normal(size=(2, 5)))
    both = small.mean(0)
    mean_small, big = float(small.square().sum(1).mean()), float(both.square().sum())
    trace = (mean_small - big) / (1 / 4 - 1 / 8)
    found = float(instrument.moments(small, torch.tensor([4.0, 4.0], dtype=torch.float64))[0])
    detail = "(|g_b|^2 - |g_B|^2)/(1/b - 1/B), to 1e-12"
    return exactly(KIND, "tr(Sigma): two-batch form", trace, found, tolerance=1e-12, detail=detail)


def _finite_population(instrument: Instrument) -> Check:
    """Return the check, by all ordered pairs of batches of 2 from 6 examples, that |G_N|^2 is unbiased."""
    examples = np.random.default_rng(13).normal(size=(6, 3)) + 0.5
    truth = float((examples.mean(0) ** 2).sum())
    sizes = torch.tensor([2.0, 2.0], dtype=torch.float64)
    found = []
    for first in itertools.combinations(range(6), 2):
        rest = [index for index in range(6) if index not in first]
        for second in itertools.combinations(rest, 2):
            batch = torch.tensor(np.stack([examples[list(first)].mean(0), examples[list(second)].mean(0)]))
            found.append(float(instrument.moments(batch, sizes, population=6)[1]))
    detail = "all batches of a set of 6, without replacement, to 1e-12"
    return exactly(KIND, "|G|^2, T2: finite population", truth, float(np.mean(found)), tolerance=1e-12, detail=detail)


def _undetermined(instrument: Instrument) -> Check:
    """Return the check that opposite gradients give no noise scale: |G|^2 comes out below 0, and is not clamped."""
    one = torch.tensor([[1.0, -2.0, 0.5], [-1.0, 2.0, -0.5]], dtype=torch.float64)
    trace, squared = (float(each) for each in instrument.moments(one, torch.ones(2, dtype=torch.float64)))
    jitter = np.array([1.0, 1.01, 0.99, 1.0])
    found = instrument.scale(trace * jitter, squared * jitter)
    said = 0.0 if found.value is None else 1.0
    return exactly(
        KIND, "no noise scale from x and -x", 0.0, said, tolerance=0.0, detail="|G|^2 below 0 is undetermined"
    )


def _lag_one(draws: int) -> Check:
    """Return the check that successive gradients correlate as 1 - eta/eta_opt."""
    curvature = np.linspace(0.2, 1.0, len(MEAN))
    total = float((curvature * DEVIATIONS**2).sum() / BATCH + (MEAN * curvature * MEAN).sum())
    best = float((MEAN**2).sum()) / total
    before, after = steps_on_a_quadratic(
        curvature, gradient=MEAN, deviations=DEVIATIONS, batch_size=BATCH, learning_rate=0.7 * best, draws=draws,
        generator=np.random.default_rng(14),
    )  # fmt: skip
    products = (before * after).sum(1) / float((MEAN**2).sum())
    return unbiased(KIND, "lag-1 alignment, T3", 0.3, products, detail="1 - eta/eta_opt at eta = 0.7 eta_opt")


def _identity(instrument: Instrument) -> Check:
    known = instrument.scale(np.array([6.0, 6.2, 5.8]), np.array([0.1, 0.101, 0.099]))
    gain = adascale_gain(known, batch_size=16, count=8).value or 0.0
    efficiency = pollux_efficiency(known, batch_size=128, reference=16).value or 1.0
    detail = "AdaScale gain / S = Pollux efficiency"
    return exactly(KIND, "views agree, T10", 1.0, gain / 8 / efficiency, tolerance=1e-12, detail=detail)


def _coverage(instrument: Instrument, studies: int, ratio: float, dimension: int, measurements: int) -> Check:
    generator = np.random.default_rng(15)
    truth, hits, open_ones = float(ratio * BATCH), [], 0
    for _ in range(studies):
        moments = gaussian_moments(
            truth,
            batch_size=BATCH,
            dimension=dimension,
            micro_batches=4,
            measurements=measurements,
            generator=generator,
        )
        found = instrument.scale(*moments)
        hits.append(holds(found.low, found.high, truth))
        open_ones += found.value is None
    name = f"noise scale at {ratio:g} times the batch"
    detail = (
        f"T1c: dimension {dimension}, {measurements} measurements; undetermined in {100 * open_ones / studies:.0f} %"
    )
    return covers(KIND, name, np.array(hits), detail=detail)
