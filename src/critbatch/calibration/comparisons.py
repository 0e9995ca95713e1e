"""Comparisons of batch sizes: intervals, false alarms and fair tuning."""

from collections.abc import Iterator

import numpy as np

from ..statistics.comparisons import best_of
from .check import Check, at_most, covers, exactly, holds, unbiased
from .instrument import Instrument

KIND = "comparisons"
SEEDS = 8
SIZES = (1, 4, 16, 64, 256, 1024)


def checks(instrument: Instrument, studies: int) -> Iterator[Check]:
    """Yield the checks of paired comparisons; `studies` for each coverage."""
    generator = np.random.default_rng(31)
    found = [
        instrument.compare(generator.normal(0.2, 1.0, SEEDS), equivalence_margin=0.5, bootstrap=True)
        for _ in range(studies)
    ]
    student = np.array([holds(one.low, one.high, 0.2) for one in found])
    drawn = np.array([holds(one.bootstrap_low, one.bootstrap_high, 0.2) for one in found])
    yield covers(KIND, "paired difference", student, detail=f"{SEEDS} seeds, Student t")
    yield covers(KIND, "paired difference, bootstrap-t", drawn, detail=f"{SEEDS} seeds", gate=False)
    yield _false_alarms(instrument, studies)
    yield _false_equivalence(instrument, studies)
    total = 40
    best = best_of(np.arange(1, total + 1) / (total + 1))
    yield exactly(KIND, "best of 5 uniform scores, T14", 5 / 6, float(best[4]), tolerance=1e-9, detail="n/(n + 1)")


def _false_alarms(instrument: Instrument, studies: int) -> Check:
    """Return the check that on pure noise a batch size is called better in at most 5% of studies."""
    generator = np.random.default_rng(32)
    alarms = []
    for _ in range(studies):
        values = {size: generator.normal(0.95, 0.01, 5) for size in SIZES}
        found = instrument.winner(values, better="above", unit="accuracy", definition="noise", margin=0.01)
        alarms.append(any(one.words == "better" for one in found.rivals))
    return at_most(
        KIND, "false alarm on pure noise", 0.05, np.array(alarms), detail="6 batch sizes, 5 seeds; at most 5 %"
    )


def _false_equivalence(instrument: Instrument, studies: int) -> Check:
    generator = np.random.default_rng(33)
    wrong = [
        instrument.compare(generator.normal(0.5, 0.3, SEEDS), equivalence_margin=0.5).equivalence_p < 0.05
        for _ in range(4 * studies)
    ]
    detail = "two one-sided tests, 5 % where the true difference is just the margin"
    return unbiased(KIND, "false equivalence at the margin", 0.05, np.array(wrong, dtype=float), detail=detail)
