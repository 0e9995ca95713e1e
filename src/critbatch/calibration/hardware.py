"""Step times and the batch size that they make the fastest."""

from collections.abc import Iterator

import numpy as np

from ..hardware.step_time import fastest_time
from ..worlds.sweeps import SweepWorld
from .check import Check, covers, exactly, holds
from .instrument import Instrument

KIND = "hardware"
T0, T1 = 2e-3, 1e-5
SIZES = np.array([1, 4, 16, 64, 256, 1024])


def checks(instrument: Instrument, studies: int) -> Iterator[Check]:
    """Yield the checks of step times; `studies` for each coverage."""
    yield _optimum()
    generator = np.random.default_rng(41)
    world = SweepWorld()
    truth = (world.critical_batch_size * T0 / T1) ** 0.5
    knees, optima = [], []
    for _ in range(studies):
        times = (T0 + T1 * SIZES)[:, None] * np.exp(
            0.05 * generator.normal(size=(6, 1)) + 0.02 * generator.normal(size=(6, 12))
        )
        line = instrument.step_time(SIZES, times)
        knees.append(holds(line.knee.low, line.knee.high, T0 / T1))
        best = instrument.optimum(instrument.fit(instrument.choices(world, generator)).critical_batch_size, line)
        optima.append(holds(best.low, best.high, truth))
    yield covers(KIND, "knee t0/t1", np.array(knees), detail="6 batch sizes, errors of 5 % in size")
    yield covers(KIND, "time-optimal batch size", np.array(optima), detail="sqrt(B_crit t0/t1), both measured")


def _optimum() -> Check:
    """Return the check of T13: no batch size beats the closed form."""
    s_min, e_min = 20.0, 2000.0
    sizes = np.geomspace(1, 1e5, 200_001)
    least = float(((s_min + e_min / sizes) * (T0 + T1 * sizes)).min())
    detail = "(sqrt(S_min t0) + sqrt(E_min t1))^2 against every batch size"
    return exactly(KIND, "fastest time, T13", least, fastest_time(s_min, e_min, T0, T1), tolerance=1e-6, detail=detail)
