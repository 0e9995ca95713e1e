"""How the variance of mini-batch gradients depends on the batch size at frozen parameters: what to run, and its slope."""

import numpy as np

from ..analysis.grid import Grid
from ..bed import Bed, Scale
from ..budgets.steps import Steps
from ..claim import Imagined, World
from ..finding import TaskFacts
from ..measurements.update_covariance import UpdateCovariance
from ..plan import Plan, Run
from .protocol import common_rates, runs, seeds

SHOWN = (1, 4, 16, 64, 256)
TRAINED_AT = 16  # batch size of the run along which batches are drawn


def watched(facts: TaskFacts, scale: Scale) -> Plan:
    """Return short runs along which batches of all sizes are drawn at frozen parameters."""
    size = min(TRAINED_AT, facts.train_size or TRAINED_AT)
    rates = common_rates(facts, size, scale)
    sizes = shown(facts)
    batches = UpdateCovariance(batch_sizes=sizes or (1,), batches=64 if scale == "full" else 16, per_decade=1)
    return runs(
        facts, batch_sizes=[size], rates=[rates[len(rates) // 2]], seeds=seeds(scale),
        budget=Steps(100 if scale == "full" else 1), measurements=(batches,),
    )  # fmt: skip


def shown(facts: TaskFacts) -> tuple[int, ...]:
    """Return the batch sizes that are drawn: those up to half of the training set."""
    return tuple(one for one in SHOWN if one <= (facts.train_size or 0) / 2)


def log_variances(grid: Grid, train_size: int) -> np.ndarray:
    """Return log2 of gradient variances over 1 - B/N, mean over looks, shape (seed, batch size); NaN where missing.

    Args:
        grid: Of the runs of `watched`.
        train_size: N.
    """
    names = [UpdateCovariance().quantity(one) for one in shown(grid.facts)]
    finite = np.log2(1 - np.array(shown(grid.facts), dtype=float) / train_size)
    rows = []
    for track in (one for rates in grid.tracks.values() for row in rates.values() for one in row.values()):
        columns = [track.values.get(name, np.full(len(track.step), np.nan)) for name in names]
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log2(np.stack(columns, axis=1)) if len(track.step) else np.full((1, len(names)), np.nan)
        seen = logs[np.isfinite(logs).all(1)]
        rows.append(seen.mean(0) - finite if len(seen) else np.full(len(names), np.nan))
    return np.array(rows).reshape(-1, len(names))


def made_up_variances(world: World, generator: np.random.Generator) -> Imagined:
    """Return what the runs of `watched` would have recorded: variances that fall as 1/B, or in the false world as B^-0.8.

    Args:
        world: In the silent one the noise hides every exponent.
        generator: Of the noise.
    """
    noise = 3.0 if world == "silent" else 0.1
    exponent = -0.8 if world == "false" else -1.0
    size = Bed().size

    def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
        level = generator.normal()
        return {
            UpdateCovariance().quantity(one): np.exp(
                level + exponent * np.log(one) + np.log(1 - one / size) + noise * generator.normal(size=len(looks))
            )
            for one in SHOWN
        }

    return values
