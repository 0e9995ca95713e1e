"""The mean of a stationary series with memory, with an interval."""

import numpy as np
from scipy.special import stdtrit

from ..estimate import Estimate
from ..statistics.blocks import FEWEST_BLOCKS, covering_block_length, mean_covariance


def stationary_mean(
    value: float, influence: np.ndarray, *, level: float, unit: str, definition: str, block: int | None = None
) -> Estimate:
    """Return a smooth function of means along a series, with an interval that allows for the series' memory.

    Its standard error is that of the mean of its influence under the moving-block bootstrap, with Student's t for
    n/block - 1 degrees of freedom. The series must be stationary and long against its memory: a drift, or a memory too
    long to be seen, makes the interval too narrow.

    Source: Kuensch (1989), Annals of Statistics 17, 1217-1241; block as `covering_block_length`.

    Args:
        value: Of the function.
        influence: Shape (time,): how much each time pulls at the value, times their number (for a mean, the series).
        level: Confidence level.
        unit: Of the value.
        definition: Of the value.
        block: Steps in a block; None for a length that the series itself asks for.

    Returns:
        Missing where numbers are not finite, or the series holds fewer than six blocks.

    Raises:
        ValueError: If a block has no steps.
    """
    if block is not None and block < 1:
        raise ValueError(f"`stationary_mean(block={block})`: give at least 1 step, or None for a length that fits.")
    count = len(influence)

    def missing(reason: str) -> Estimate:
        return Estimate.missing(reason, unit=unit, definition=definition, level=level, count=count)

    if not (np.isfinite(value) and np.isfinite(influence).all()):
        return missing("the trajectory does not move, or holds numbers that are not finite")
    if count < 2 * FEWEST_BLOCKS:
        return missing(f"an interval of a series with memory needs {2 * FEWEST_BLOCKS} steps, got {count}")
    length = covering_block_length(influence[:, None]) if block is None else block
    if count / length < FEWEST_BLOCKS:
        return missing(
            f"{count} steps hold {count / length:.1f} blocks of {length} that hardly depend on each other, "
            f"{FEWEST_BLOCKS} are needed: follow the trajectory for longer"
        )
    error = mean_covariance(influence[:, None], length)[0, 0] ** 0.5
    half = float(stdtrit(count / length - 1, (1 + level) / 2) * error)
    method = f"moving blocks of {length} steps, Student t"
    return Estimate(value, value - half, value + half, level, count, unit, method, definition)
